# SPDX-License-Identifier: GPL-2.0-or-later
"""The peer's daemon says nothing any more, and its host lives on."""
import time

from flows import copy, echo, stream
from lab import CONTROL_PORT, check
from outages import Cut
from scenario import lan, nodad, scenario

VALID_S = 60  # an address that has answered is valid for so long
ASKED_S = 12  # and then asked for so long at most
AWAY_S = VALID_S + 20 + ASKED_S + 8  # of which it is renewed every 20 s
AGAIN_S = 1.5
# The control port and nothing else; a firewall that came later.
WALL = """table inet wall {{
	chain in {{ type filter hook prerouting priority -310;
		udp dport {port} drop; }}
}}
"""


def moved(lab, n, *kinds):
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [kind(client, server, fam=n.fam) for kind in kinds]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    return client, server, flows


def down(*args, **kw):
    return stream(*args, "down", **kw)


def live_on(flows):
    began = time.monotonic()
    while time.monotonic() - began < AWAY_S:
        for f in flows:
            f.goes_on()
        time.sleep(1)
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), timeout=150, long=True, control="dies")
def a_daemon_that_stays_away_ends_no_flow(lab, n):
    """The kernel of the host that has moved translates on. It is killed, and
    nobody starts it.

        client .1.2, .1.9 ---- lan ---- .1.3 server
    """
    client, _, flows = moved(lab, n, echo, down, copy)
    client.daemon.kill()
    live_on(flows)


@scenario(fam=(4, 6), timeout=150, long=True, control="dies")
def a_walled_control_port_ends_no_flow(lab, n):
    """A firewall comes later, and lets all through but the daemon's messages.
    """
    _, server, flows = moved(lab, n, echo, down, copy)
    server.run("nft", "-f", "-", input=WALL.format(port=CONTROL_PORT))
    live_on(flows)


@scenario(fam=(4, 6), timeout=150, long=True, control="dies")
def who_comes_back_is_answered_at_once(lab, n):
    """Nothing gets through for longer than the address is valid, and what the
    other end sends is held; then the host that has moved speaks first, as a
    person at a keyboard does."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    keys = echo(client, server, busy=0, idle=1, fam=n.fam)
    screen = stream(client, server, "down", fam=n.fam)
    lab.protected(keys, screen)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(keys, screen, client=n.ip(1, 9))
    keys.echo_all()
    screen.goes_on()
    with Cut(client, server):
        time.sleep(AWAY_S)
    began = time.monotonic()
    keys.echo_all(AWAY_S)
    took = time.monotonic() - began
    check(took < AGAIN_S, f"answered after {took:.1f} s")
    screen.goes_on(timeout=AWAY_S)  # its timer has doubled for so long
    for f in keys, screen:
        f.finish()
