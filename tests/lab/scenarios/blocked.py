# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths that carry control messages and none of a flow's own packets."""
from flows import copy, echo, udp
from lab import CONTROL_PORT, check, wait_until
from scenario import nodad, scenario

# Who never saw a connection's SYN has no business with it.
STRICT = """
table inet strict {
    chain forward {
        type filter hook forward priority filter; policy accept;
        OTHERS
        meta l4proto udp accept
        ct state new tcp flags & (fin | syn | rst | ack) != syn ACTION
        ct state invalid ACTION
    }
}
"""

# A company's firewall: of datagrams it knows what its administrator named.
NO_DATAGRAMS = f"""
table inet walls {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        udp sport {CONTROL_PORT} accept
        udp dport {CONTROL_PORT} accept
        meta l4proto udp drop
    }}
}}
"""

# Other numbers on the way, and the same ones again on the way back: what began
# there would be none the wiser. One that gives back time stamps of its own.
BOX = """
table inet box {
    chain forward {
        type filter hook forward priority filter
        RULES
    }
}
"""
NUMBERS = '''
        iifname "eth0" tcp sequence set tcp sequence xor 0x80000000
        oifname "eth0" tcp ackseq set tcp ackseq xor 0x80000000'''
STAMPS = "tcp option timestamp tsecr set 1"

# The host's own, of which who sends is told only in front of our queue.
OWN = """
table TABLE own {
    chain own {
        type filter hook HOOK priority PRIORITY; policy accept;
        RULE
    }
}
"""


def box(host, rules):
    host.run("nft", "-f", "-", input=BOX.replace("RULES", rules))


def strict(host, action="drop", others=""):
    """others: a rule for what is none of its business."""
    host.run("nft", "-f", "-", input=STRICT.replace("ACTION", action).replace(
        "OTHERS", others))
    host.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)


def rejecting(host):
    strict(host, "reject with tcp reset")


def no_datagrams(host):
    host.run("nft", "-f", "-", input=NO_DATAGRAMS)


def two_ways(lab, n, *more, ruled=True):
    """
        client eth0 .1.2 -- lan1 -- .1.1 router .2.1 -- lan2 -- .2.3 server
        client eth1 .3.9 -- lan3 -- .3.1 routerb .5.2 -- lan5 -- .5.1 router
    """
    hosts = lab.build("\n".join((
        f"client  eth0 {n.cidr(1, 2)} lan1 via {n.ip(1, 1)}",
        f"router  eth0 {n.cidr(1, 1)} lan1",
        f"router  eth1 {n.cidr(2, 1)} lan2",
        f"server  eth0 {n.cidr(2, 3)} lan2 via {n.ip(2, 1)}",
        "client  eth1 - lan3",
        f"routerb eth0 {n.cidr(3, 1)} lan3",
        f"routerb eth1 {n.cidr(5, 2)} lan5 via {n.ip(5, 1)}",
        f"router  eth2 {n.cidr(5, 1)} lan5", *more)))
    client, router = hosts[:2]
    f = f"-{n.fam}"
    router.run("ip", f, "route", "add", n.cidr(3, 0), "via", n.ip(5, 2))
    # what has one of its addresses as source leaves by the way of that
    for subnet, host in ((1, 2), (3, 9), (6, 9)) if ruled else ((1, 2),):
        client.run("ip", f, "rule", "add", "from", n.ip(subnet, host),
                   "lookup", str(108 + subnet), "pref", str(900 + subnet))
    client.run("ip", f, "route", "add", "default", "via", n.ip(1, 1), "dev",
               "eth0", "table", "109")
    return hosts


def way(client, n, dev, subnet, metric):
    route = ("ip", f"-{n.fam}", "route", "add", "default", "via",
             n.ip(subnet, 1), "dev", dev)
    client.add(dev, n.cidr(subnet, 9), nodad(n))
    client.run(*route, "metric", str(metric))
    client.run(*route, "table", str(108 + subnet))


def some_flows(client, server, n):
    return [echo(client, server, fam=n.fam, pace_us=5000),
            echo(client, server, fam=n.fam, busy=0, idle=1),
            copy(client, server, "down", fam=n.fam),
            udp(client, server, fam=n.fam, pace_us=5000)]


def only_idle(client, server, n):
    return [echo(client, server, fam=n.fam, busy=0, idle=1)]


def only_udp(client, server, n):
    return [udp(client, server, fam=n.fam, pace_us=5000)]


def live_on(flows):
    for f in flows:
        if f.is_idle:
            f.echo_all()
        else:
            f.goes_on()


def asked_to(client, n):
    client.daemon.ctl("move", "--to", n.ip(3, 9))


def deprecated(client, n):
    """New connections go by eth1; what has the address goes by its rule."""
    client.route("default via", n.ip(3, 1), "dev eth1")
    client.ip(f"address change {n.cidr(1, 2)} dev eth0 preferred_lft 0")


def better_route(client, n):
    """No rule holds what has the address: it leaves by eth1, too."""
    client.run("ip", f"-{n.fam}", "rule", "del", "pref", "901")
    client.route("default via", n.ip(3, 1), "dev eth1")


def stays(lab, n, wall=strict, ruled=True, event=asked_to, some=some_flows):
    client, router, server, routerb = two_ways(lab, n, ruled=ruled)
    wall(routerb)
    lab.daemons(client, server)
    flows = some(client, server, n)
    lab.protected(*flows)
    way(client, n, "eth1", 3, 2000)
    for f in flows:
        f.forget_gap()
    if not lab.without_daemons or event is not asked_to:
        event(client, n)
    if not lab.without_daemons:
        wait_until("the path is said to be blocked", lambda: all(
            lab.entry(client, f)["reason"] == "path_blocked" for f in flows))
        blocked = client.daemon.counter("moves_blocked")
        check(blocked >= 1, f"{blocked} moves were blocked")
    lab.settled(*flows)
    live_on(flows)
    for f in flows:
        check(f.is_idle or f.gap_ms < 250, f"{f} was silent for {f.gap_ms} ms")
    if not lab.without_daemons:
        check(client.daemon.counter("moves_done") == 0, "it has moved")
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), control="lives")
def a_path_that_drops_flows_is_not_taken(lab, n):
    stays(lab, n)


@scenario(fam=(4, 6), control="lives")
def a_path_that_drops_idle_flows_is_not_taken(lab, n):
    """Which alone would not be missed for long."""
    stays(lab, n, some=only_idle)


@scenario(fam=(4, 6), control="lives")
def a_path_that_drops_datagrams_is_not_taken(lab, n):
    """It carries TCP and control messages: what one protocol shows holds for
    no other."""
    stays(lab, n, no_datagrams)


@scenario(fam=(4, 6), control="lives")
def a_path_that_drops_all_a_peer_has_is_not_taken(lab, n):
    stays(lab, n, no_datagrams, some=only_udp)


@scenario(fam=(4, 6), control="lives")
def a_path_that_rewrites_numbers_is_not_taken(lab, n):
    """It carries every packet, and would end every connection."""
    stays(lab, n, lambda routerb: box(routerb, NUMBERS))


@scenario(fam=(4, 6), control="lives")
def a_path_that_rewrites_time_stamps_is_not_taken(lab, n):
    stays(lab, n, lambda routerb: box(routerb, STAMPS))


@scenario(fam=(4, 6), control="lives")
def a_path_that_rejects_flows_is_not_taken(lab, n):
    stays(lab, n, rejecting)


@scenario(fam=(4, 6), control="lives")
def a_way_back_that_rejects_flows_is_not_taken(lab, n):
    """Ours pass, the answers meet the firewall: it resets the server's."""
    stays(lab, n, rejecting, ruled=False)


@scenario(fam=(4, 6), control="lives")
def a_deprecated_address_is_better_than_a_blocked_path(lab, n):
    stays(lab, n, event=deprecated)


@scenario(fam=(4, 6), control="lives")
def a_better_route_that_is_blocked_is_not_taken(lab, n):
    """The box on it knows the connections of its own addresses, and has
    nothing against others."""
    stays(lab, n, lambda routerb: strict(
        routerb, others=f"{n.proto} saddr {n.ip(1, 2)} accept"),
          event=better_route)


def is_taken(lab, n, some=some_flows, nonces=2):
    """And the way back, on identity tuples, is tried likewise."""
    client, router, server, routerb = two_ways(lab, n)
    lab.daemons(client, server)
    flows = some(client, server, n)
    lab.protected(*flows)
    way(client, n, "eth1", 3, 2000)
    for to, back in ((n.ip(3, 9), False), (n.ip(1, 2), True)):
        if lab.without_daemons:
            break
        before = [h.daemon.counter("nonces_rx") for h in (client, server)]
        client.daemon.ctl("move", "--to", to)
        lab.settled(*flows, client=None if back else to)
        live_on(flows)
        for h, had in zip((client, server), before):
            check(h.daemon.counter("nonces_rx") >= had + nonces,
                  f"{h.name} has not seen a nonce of each protocol")
        check(client.daemon.counter("moves_blocked") == 0, "it was blocked")
        check(all(lab.entry(client, f)["reason"] in (None, "none")
                  for f in flows),
              "it has a reason")
    live_on(flows)
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), control="lives")
def a_path_that_carries_flows_is_taken(lab, n):
    is_taken(lab, n)


@scenario(fam=(4, 6), control="lives")
def a_path_that_carries_idle_flows_is_taken(lab, n):
    is_taken(lab, n, only_idle, 1)


def keeps_back(lab, n, hook, rule, table="inet", priority="filter"):
    """The router there would pass no TCP, either."""
    client, router, server, routerb = two_ways(lab, n)
    strict(routerb)
    client.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    own = OWN
    for word, to in (("TABLE", table), ("HOOK", hook), ("RULE", rule),
                     ("PRIORITY", priority)):
        own = own.replace(word, to)
    client.run("nft", "-f", "-", input=own)
    lab.daemons(client, server)
    flows = some_flows(client, server, n)
    lab.protected(*flows)
    way(client, n, "eth1", 3, 2000)
    if not lab.without_daemons:
        asked_to(client, n)
        wait_until("it is said that nothing was tried", lambda: all(
            lab.entry(client, f)["reason"] == "path_untried" for f in flows))
    lab.settled(*flows)
    live_on(flows)
    if not lab.without_daemons:
        for c in "moves_done", "moves_blocked":
            check(client.daemon.counter(c) == 0, c)
        routerb.run("nft", "delete", "table", "inet", "strict")
        client.run("nft", "delete", "table", table, "own")
        lab.settled(*flows, client=n.ip(3, 9), timeout=40)
        live_on(flows)
        check(client.daemon.counter("moves_blocked") == 0, "it was blocked")
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), control="lives")
def what_the_host_finds_invalid_shows_nothing(lab, n):
    """UDP crosses; a nonce of TCP is from an address that the connection never
    had. It is not moved, nor is the path to blame: it is taken when a nonce can
    be sent, and has crossed."""
    keeps_back(lab, n, "output", "ct state invalid drop")


@scenario(fam=(4, 6), control="lives")
def what_the_host_refuses_shows_nothing(lab, n):
    """Whoever sends it is told so."""
    keeps_back(lab, n, "output",
               f"{n.proto} saddr {n.ip(3, 9)} meta l4proto tcp drop",
               priority="raw")


@scenario(fam=(4, 6), control="lives")
def what_the_host_filters_last_shows_nothing(lab, n):
    """Its filter for what leaves, of which nobody who sends is told."""
    keeps_back(lab, n, "postrouting",
               f"{n.proto} saddr {n.ip(3, 9)} udp sport != {CONTROL_PORT} drop;"
               f"{n.proto} saddr {n.ip(3, 9)} meta l4proto tcp drop")


@scenario(fam=(4, 6), control="lives")
def what_the_device_keeps_back_shows_nothing(lab, n):
    keeps_back(lab, n, "egress device eth1",
               f"{n.proto} saddr {n.ip(3, 9)} meta l4proto tcp drop", "netdev")


@scenario(fam=(4, 6), control="dies")
def where_the_old_one_is_gone_the_next_is_tried(lab, n):
    """
        client eth2 .6.9 -- lan6 -- .6.1 router, behind the blocked way
    """
    client, router, server, routerb = two_ways(
        lab, n, "client eth2 - lan6", f"router eth3 {n.cidr(6, 1)} lan6")
    strict(routerb)
    lab.daemons(client, server)
    flows = some_flows(client, server, n)
    lab.protected(*flows)
    way(client, n, "eth1", 3, 2000)
    way(client, n, "eth2", 6, 3000)
    client.link("eth0", "down")
    lab.settled(*flows, client=n.ip(6, 9))
    live_on(flows)
    if not lab.without_daemons:
        check(client.daemon.counter("moves_blocked") == 1, "moves blocked: " +
              str(client.daemon.counter("moves_blocked")))
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), control="dies")
def where_there_is_no_other_it_says_why(lab, n):
    client, router, server, routerb = two_ways(lab, n)
    strict(routerb)
    lab.daemons(client, server)
    tcp, datagrams = (echo(client, server, fam=n.fam),
                      udp(client, server, fam=n.fam))
    lab.protected(tcp, datagrams)
    way(client, n, "eth1", 3, 2000)
    client.link("eth0", "down")
    if not lab.without_daemons:
        wait_until("the reason is listed", lambda: lab.entry(client, tcp)[
            "reason"] == "path_blocked", 3)
    datagrams.goes_on()
    client.link("eth0", "up")
    if n.fam == 6:
        client.ip(f"address replace {n.cidr(1, 2)} dev eth0 nodad")
    for table in "254", "109":
        client.run("ip", f"-{n.fam}", "route", "replace", "default", "via",
                   n.ip(1, 1), "dev", "eth0", "table", table)
    lab.settled(tcp, datagrams)
    tcp.goes_on()
    for f in tcp, datagrams:
        f.finish()
