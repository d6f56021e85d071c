# SPDX-License-Identifier: GPL-2.0-or-later
"""Who stays: moves that nothing asks for, and looks that came too early."""
import time

from flows import echo, udp
from lab import check, wait_until
from scenario import Net, nodad, routed, scenario

LOOK_S = 3  # a move that nothing asks for came within one


def uplinks(lab, n):
    """
        client eth0 .1.2 ---- lan1 ---- router ---- lan2 ---- .2.3 eth0 server
                                          '-------- lan3 ---- .3.3 eth1
    """
    return lab.build(f"""
        client eth0 {n.cidr(1, 2)} lan1 via {n.ip(1, 1)}
        router eth0 {n.cidr(1, 1)} lan1
        router eth1 {n.cidr(2, 1)} lan2
        router eth2 {n.cidr(3, 1)} lan3
        server eth0 {n.cidr(2, 3)} lan2 via {n.ip(2, 1)}
        server eth1 {n.cidr(3, 3)} lan3""")


def rule(host, n, *what):
    host.run("ip", f"-{n.fam}", "rule", *" ".join(map(str, what)).split())


def source_rules(server, n):
    """Each address has a table of its own."""
    for subnet, dev, table in (2, "eth0", 101), (3, "eth1", 108):
        server.route(f"default via {n.ip(subnet, 1)} dev {dev} "
                     f"table {table}")
        rule(server, n, "add pref", table, "from", n.ip(subnet, 3), "lookup",
             table)


def stays(lab, *flows):
    """Nothing happens, and nothing moves, nor has moved."""
    time.sleep(LOOK_S)
    for f in flows:
        f.goes_on()
    if lab.without_daemons:
        return
    for f in flows:
        for h in f.client, f.server:
            for e in lab.entries(h, f):
                check(e["state"] == "protected" and e["moves"] == 0,
                      f"{f} at {h.name} is {e['state']} at "
                      f"{e['wire']['local']}, {e['moves']} moves")


@scenario(fam=(4, 6), control="lives")
def source_rules_are_obeyed(lab, n):
    """A connection to the uplink that is not the default one's; until its
    packets leave by the other."""
    client, _, server = uplinks(lab, n)
    source_rules(server, n)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam, to=n.ip(3, 3)),
             udp(client, server, fam=n.fam, to=n.ip(3, 3))]
    lab.protected(*flows)
    stays(lab, *flows)
    rule(server, n, "del pref 108")
    lab.settled(*flows, server=n.ip(2, 3))
    for f in flows:
        f.goes_on()
        f.finish()


def over_both(server, n, *weights):
    """One hop has almost all of the hashes: where only one is looked at it is
    not by luck that this is right."""
    server.route("default", *(
        f"nexthop via {n.ip(subnet, 1)} dev {dev} weight {w}"
        for subnet, dev, w in zip((2, 3), ("eth0", "eth1"), weights)))


@scenario(fam=(4, 6), control="lives")
def multipath_is_no_reason(lab, n):
    """A default route over both uplinks, source rules for both; then without
    the rules: one of the hops is the address's own, and most packets of
    some flows leave by the other."""
    client, _, server = uplinks(lab, n)
    source_rules(server, n)
    server.ip(f"route del default via {n.ip(2, 1)}")
    over_both(server, n, 256, 1)
    lab.daemons(client, server)
    flows = [f(client, server, fam=n.fam, to=n.ip(subnet, 3))
             for subnet in (2, 3) for f in (echo, udp)]
    lab.protected(*flows)
    stays(lab, *flows)
    rule(server, n, "del pref 101")
    rule(server, n, "del pref 108")
    stays(lab, *flows)
    over_both(server, n, 1, 256)
    stays(lab, *flows)
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), control="none")
def two_addresses_to_one(lab, n):
    """Connections of both uplinks to one server, which never asks first: the
    second address is no news of the key, and is proved all the same."""
    server, _, client = uplinks(lab, n)
    source_rules(client, n)
    lab.daemons(client, server)
    first = echo(client, server, fam=n.fam, pace_us=5000)
    lab.protected(first)
    second = [echo(client, server, fam=n.fam, source=n.ip(3, 3), pace_us=5000),
              udp(client, server, fam=n.fam, source=n.ip(3, 3), repeat_ms=20)]
    lab.protected(*second)
    for f in (first, *second):
        f.finish()


@scenario(fam=(4, 6), control="dies")
def a_client_inside_the_lan(lab, n):
    """It knows the address of the server's uplink, and the server answers by
    the LAN; then it leaves.

        client eth0 .3.9 ---- lan3 ---- .3.3 eth1 server eth0 .2.3 ---- lan2
        client eth1, then .1.9 -- lan1 -- .1.1 router .2.1 --------------'
    """
    client, server, _ = lab.build(f"""
        client eth0 {n.cidr(3, 9)} lan3 via {n.ip(3, 3)}
        client eth1 - lan1
        server eth1 {n.cidr(3, 3)} lan3
        server eth0 {n.cidr(2, 3)} lan2 via {n.ip(2, 1)}
        router eth0 {n.cidr(2, 1)} lan2
        router eth1 {n.cidr(1, 1)} lan1""")
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam, to=n.ip(2, 3)),
             udp(client, server, fam=n.fam, to=n.ip(2, 3))]
    lab.protected(*flows)
    stays(lab, *flows)
    # an event that concerns nobody: another look
    server.add("eth1", n.cidr(7, 3), nodad(n))
    stays(lab, *flows)
    client.link("eth0", "down")
    client.add("eth1", n.cidr(1, 9), nodad(n))
    client.route("default via", n.ip(1, 1), "dev eth1")
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
        f.finish()


@scenario(control="lives")
def an_address_that_was_never_preferred(lab):
    """As keepalived adds its IPv6 addresses.

        client ::2 ---- lan1 ---- router ---- lan2 ---- ::3, ::103 server
    """
    n = Net(6)
    client, _, server = routed(lab, n)
    vip = n.ip(2, 103)
    server.add("eth0", vip + "/128", "nodad", "preferred_lft 0")
    lab.daemons(client, server)
    flows = [echo(client, server, fam=6, to=vip),
             udp(client, server, fam=6, to=vip)]
    lab.protected(*flows)
    stays(lab, *flows)
    server.add("eth0", n.cidr(2, 13), "nodad")
    stays(lab, *flows)
    # preferred for once, then not: that is a change
    server.ip(f"address change {vip}/128 dev eth0 preferred_lft forever")
    time.sleep(0.5)
    server.ip(f"address change {vip}/128 dev eth0 preferred_lft 0")
    if not lab.without_daemons:
        for f in flows:
            wait_until(f"{f} has moved", lambda f=f: lab.entry(
                server, f)["state"] == "moved")
    for f in flows:
        f.goes_on()
        f.finish()


@scenario(control="dies", timeout=90)
def the_cable_is_back_before_its_router_answers(lab):
    """The kernel passes over a router whose entry has failed, so the first
    look finds the Wi-Fi; the route is another one when the router answers.

        client eth0 ::2 (cable) ---- lan1 ---- router ---- lan2 ---- ::3 server
        client eth1 ::9 (Wi-Fi) ---- lan3 ------'
    """
    n = Net(6)
    client, router, server = routed(lab, n)
    client.run("ip", "-6", "route", "del", "default")
    client.route(f"default via {n.ip(1, 1)} dev eth0 metric 100")
    lab.daemons(client, server)
    flows = [echo(client, server, fam=6), udp(client, server, fam=6)]
    lab.protected(*flows)
    client.add("eth1", n.cidr(3, 9), "nodad")
    client.route(f"default via {n.ip(3, 1)} dev eth1 metric 600")
    client.link("eth0", "down")
    lab.settled(*flows, client=n.ip(3, 9))
    router.run("nft", "table ip6 quiet { chain in { type filter hook input "
               "priority 0; iifname eth0 icmpv6 type { nd-neighbor-solicit, "
               "nd-neighbor-advert } drop; }; }")
    client.link("eth0", "up")
    client.add("eth0", n.cidr(1, 12), "nodad")
    ping = ("ping", "-6", "-c1", "-W4", n.ip(1, 1))
    client.run(*ping, check=False)
    check("FAILED" in client.run("ip", "-6", "neigh", "show", n.ip(1, 1), "dev",
                                 "eth0").stdout_text, "the router answers")
    client.route(f"default via {n.ip(1, 1)} dev eth0 metric 100")
    time.sleep(0.5)  # the look is over
    for f in flows:
        f.goes_on()
    lab.settled(*flows, client=n.ip(3, 9))
    router.run("nft", "delete table ip6 quiet")
    client.run(*ping)
    lab.settled(*flows, client=n.ip(1, 12), timeout=2)  # a pause is 5 s
    for f in flows:
        f.goes_on()
        f.finish()


@scenario(fam=(4, 6), control="lives")
def an_address_of_a_local_route_alone(lab, n):
    """A load balancer's address, to which a host answers by a route of type
    local, as agents of clouds set it; and by a connection to its own address
    the two daemons know each other.

        client .1.2 ---- lan1 ---- router ---- lan2 ---- .2.3 server, local .9.5
    """
    client, router, server = routed(lab, n)
    front = n.ip(9, 5)
    server.route(f"local {front} dev lo table local")
    router.route(f"{front} via {n.ip(2, 3)}")
    lab.daemons(client, server)
    known = echo(client, server, fam=n.fam)
    lab.protected(known)
    any_of_its = "0.0.0.0" if n.fam == 4 else "::"
    flows = [echo(client, server, fam=n.fam, to=front, listen=any_of_its)]
    time.sleep(LOOK_S)
    for f in flows:
        f.goes_on()
        for h in () if lab.without_daemons else (client, server):
            for e in lab.entries(h, f):
                check(e["wire"] == e["identity"] and e["moves"] == 0,
                      f"{f} at {h.name} is {e['state']} at "
                      f"{e['wire']['local']}, {e['moves']} moves")
        f.finish()
