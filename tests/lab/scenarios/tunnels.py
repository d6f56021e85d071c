# SPDX-License-Identifier: GPL-2.0-or-later
"""A full tunnel comes up and goes, as wg-quick has it: what leave_tunnel
promises.

    mover eth0 .1.2 ---------- router -------- .2.3 peer
          wg0 .77.2 ==========='
"""
import os
import sys
import time

from flows import copy, echo, udp
from lab import HERE, check, wait_until
from scenario import Net, lan, nodad, scenario

sys.path.append(os.path.join(HERE, "zoo"))
from network import build  # noqa: E402


def some_flows(p, peer, n):
    """From the address that new connections have. The copies are slow: where
    the machine is, the tunnel's program would queue what others send."""
    how = {"fam": n.fam, "to": peer.ip(n)}
    flows = [echo(p.host, peer.host, **how), udp(p.host, peer.host, **how),
             *(copy(p.host, peer.host, k, pace_us=50000, **how)
               for k in ("up", "down"))]
    p.lab.protected(*flows)
    return flows


def live_on(flows):
    for f in flows:
        f.goes_on()


def have_the_reason(lab, p, flows):
    for f in flows:
        wait_until(f"{f} has the reason", lambda f=f: lab.entry(
            p.host, f)["reason"] == "tunnel")


@scenario(fam=(4, 6), control="dies")
def tunnels_are_entered_and_left_where_allowed(lab, n):
    p, peer = build(lab)
    lab.daemons(p.host, peer.host, leave_tunnel=True)
    outside = some_flows(p, peer, n)
    p.tunnel_up()
    inner = p.tunnel.inner[n.fam]
    lab.settled(*outside, client=inner)
    live_on(outside)
    inside = some_flows(p, peer, n)
    check(inside[0].near_addr == inner, "they began outside")
    p.tunnel_down()
    lab.settled(*outside)
    lab.settled(*inside, client=p.ip(n))
    live_on(outside + inside)
    for f in outside + inside:
        f.finish()


@scenario(fam=(4, 6))
def tunnels_are_a_reason_to_stay(lab, n):
    """What is lost meanwhile goes on when the tunnel is what it was."""
    p, peer = build(lab)
    lab.daemons(p.host, peer.host)
    outside = some_flows(p, peer, n)
    p.tunnel_up()
    have_the_reason(lab, p, outside)
    inner = p.tunnel.inner[n.fam]
    inside = some_flows(p, peer, n)
    check(inside[0].near_addr == inner, "they began outside")
    around = lab.capture(p.host, "eth0", f"src host {inner}")
    p.tunnel_down()
    have_the_reason(lab, p, inside)
    since = time.time_ns()  # wg-quick's rules go before the tunnel does
    lab.settled(*outside)
    live_on(outside)
    around.none("sent around the tunnel", since)
    p.tunnel_up()
    lab.settled(*inside)
    live_on(inside)
    moves = p.host.daemon.counter("moves_done")
    check(moves == 0, f"{moves} moves")
    for f in inside:
        f.finish()
    p.tunnel_down()
    live_on(outside)
    for f in outside:
        f.finish()


@scenario(control="lives")
def what_ipsec_takes_is_not_sent_around_it(lab):
    """A policy of IPsec for the two addresses, which knows no other one: what
    moved away from it would be sent in clear.

        client .1.2 ---- lan ---- .1.3 server
    """
    n = Net(4)
    client, server = lan(lab, n)
    client.run("ip", "xfrm", "policy", "add", "src", n.ip(1, 2), "dst",
               n.ip(1, 3), "dir", "out", "tmpl", "proto", "esp", "mode",
               "transport", "level", "use")
    lab.daemons(client, server)
    flows = [echo(client, server), udp(client, server)]
    time.sleep(3)
    for f in flows:
        f.goes_on()
        if not lab.without_daemons:
            e = lab.entry(client, f)
            check(e["state"] == "tracked" and e["reason"] == "tunnel",
                  f"{f} is {e['state']}, {e['reason']}")
        f.finish()


@scenario(fam=(4, 6))
def policies_of_ipsec_for_others_are_no_reason(lab, n):
    """One for other ports, one for all that another one in front excepts.

        client .1.2 ---- lan ---- .1.3 server
    """
    client, server = lan(lab, n)
    ends = "src", n.ip(1, 2), "dst", n.ip(1, 3)
    esp = "tmpl", "proto", "esp", "mode", "transport", "level", "use"

    def policy(*what):
        client.run("ip", "xfrm", "policy", "add", *ends, *what)
    policy("proto", "tcp", "dport", 9, "dir", "out", "priority", 5, *esp)
    policy("dir", "out", "priority", 20, *esp)
    policy("proto", "tcp", "dir", "out", "priority", 10)
    lab.daemons(client, server)
    taken, excepted = udp(client, server, fam=n.fam), echo(client, server,
                                                           fam=n.fam)
    lab.protected(excepted)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(excepted, client=n.ip(1, 9))
    excepted.goes_on()
    check(lab.entry(client, taken)["state"] == "tracked", "not excepted")
