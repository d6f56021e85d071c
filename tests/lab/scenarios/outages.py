# SPDX-License-Identifier: GPL-2.0-or-later
"""A while without any address: what TCP makes of that time afterwards."""
import re
import time

from flows import copy, echo
from lab import check, wait_until
from scenario import lan, nodad, scenario

OUTAGE_S = 3
RTO_MAX_MS = 1000
AGAIN_S = 0.5  # a round trip and 50 ms, where the machine has more to do


def rto_ms(host, port):
    text = host.run("ss", "-Htino", f"sport = :{port}").stdout_text
    return float(re.search(r"\brto:([0-9.]+)", text).group(1))


@scenario(fam=(4, 6), timeout=90, control="dies")
def the_time_of_a_hold_is_no_round_trip(lab, n):
    """Asked while there is no address, answered when there is one: at once,
    and the sender's timer is what it was. Twice, since it is the second
    outage that a long timer spoils. Once the host that asks is the one that
    moves, once the other; what that one repeated for ten seconds is answered
    with a time stamp that it sent long ago.

        client .1.2, .1.9, .1.10 ---- lan ---- .1.3 server
    """
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [echo(client, server, busy=0, idle=1, fam=n.fam),
             echo(server, client, busy=0, idle=1, fam=n.fam)]
    lab.protected(*flows)
    for old, new, outage_s in (2, 9, 10), (9, 10, OUTAGE_S):
        client.delete("eth0", n.cidr(1, old))
        for f in flows:
            f.echo_ask()
        time.sleep(outage_s)
        client.add("eth0", n.cidr(1, new), nodad(n))
        began = time.monotonic()
        for f in flows:
            f.echo_answered()
        took = time.monotonic() - began
        check(took < AGAIN_S, f"answered after {took:.2f} s")
        for f in flows:
            rto = rto_ms(f.client, f.port)
            check(rto < RTO_MAX_MS, f"{f}: its timer is {rto} ms long")
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), timeout=90, control="dies")
def a_copy_goes_on_after_a_long_hold(lab, n):
    """What was under way is given up but for what starts it again."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [copy(client, server, kind, fam=n.fam) for kind in ("up", "down")]
    lab.protected(*flows)
    for f in flows:
        f.goes_on()
    for old, new in (2, 9), (9, 10):
        client.delete("eth0", n.cidr(1, old))
        time.sleep(OUTAGE_S)
        got = [f.receiver.rx_bytes for f in flows]
        client.add("eth0", n.cidr(1, new), nodad(n))
        began = time.monotonic()
        for f, had in zip(flows, got):
            wait_until(f"{f} goes on", lambda: f.receiver.rx_bytes > had, 10,
                       0.002)
        took = time.monotonic() - began
        check(took < AGAIN_S, f"data came after {took:.2f} s")
        if not lab.without_daemons:
            check(client.daemon.counter("pkt_hold_stale") > 0, "all was kept")
        for f in flows:
            f.goes_on()
    for f in flows:
        f.finish()
