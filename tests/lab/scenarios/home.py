# SPDX-License-Identifier: GPL-2.0-or-later
"""Away and home again, with routers in between: what our own routes say."""
import json
import time

from flows import echo, stream, udp
from lab import MARK, check, patient, wait_until
from scenario import nodad, routed, scenario

HOME_MS = 400  # a round trip and what is done at its ends take 5 to 20
LOSS_MS = 500  # TCP's least timer is 200: what was on its way may be lost
LONGER_MS = 50  # than the move away: a busy machine is so to both
AWAY_S = 2
MARKED_MAX = 300  # those that were held, or sent while the address was away


def neighbours_asked(lab, host, n, remote):
    """What asks on the wire who has an address that is behind a router."""
    what = (f"arp[6:2] = 1 and arp dst host {remote}" if n.fam == 4 else
            f"icmp6 and ip6[40] = 135 and ip6[62:2] = 0x{remote[-1]:0>4}")
    return lab.capture(host, "eth0", what)


def goes_home(lab, client, flows, n, home, away, astray):
    """home, away: (device, subnet, host). Returns the gap of each flow, in ms,
    when it went and when it came back."""
    def to(new, old):
        for f in flows:
            f.forget_gap()
        client.add(new[0], n.cidr(*new[1:]), nodad(n))
        client.route("default via", n.ip(new[1], 1), "dev", new[0])
        client.delete(old[0], n.cidr(*old[1:]))
        client.route("default via", n.ip(new[1], 1), "dev", new[0])

    to(away, home)
    lab.settled(*flows, client=n.ip(*away[1:]))
    for f in flows:
        f.goes_on(timeout=not lab.without_daemons and AWAY_S)
    went = [f.gap_ms for f in flows]
    to(home, away)
    for f in flows:
        f.goes_on()
    if astray and not lab.without_daemons:
        since = time.time_ns()
        for f in flows:
            f.goes_on()
        astray.none("sent by the interface that was left", since)
    return went, [f.gap_ms for f in flows]


def longer_home(rounds):
    """By how many ms to come home takes longer than to go, of the flow where
    it does so most: what makes it wait does so each time, so the least gaps
    of each are compared."""
    went, came = ([min(g) for g in zip(*gaps)] for gaps in zip(*rounds))
    return max(c - w for w, c in zip(went, came))


def count_marked(host):
    """What leaves with our mark was routed by our table."""
    host.run("nft", "-f", "-", input=f"""
        table inet count {{
            counter marked {{ }}
            chain out {{
                type filter hook output priority 0;
                oif != lo meta mark & {MARK} == {MARK} counter name marked
            }}
        }}""")


def marked(host):
    out = host.run("nft", "-j", "list", "counters", "table", "inet", "count")
    return next(x["counter"]["packets"]
                for x in json.loads(out.stdout_text)["nftables"]
                if "counter" in x)


def leaves_with_the_mark(lab, client, flows, n):
    """At home, and the address is gone for a moment: what was held bears our
    mark when it is let go. Whoever counts none of it counts nothing."""
    before, held = marked(client), client.daemon.counter("pkt_held")
    client.delete("eth0", n.cidr(1, 2))
    wait_until("packets are held", lambda:
               client.daemon.counter("pkt_held") > held)
    client.add("eth0", n.cidr(1, 2), nodad(n))
    client.route("default via", n.ip(1, 1), "dev", "eth0")
    lab.settled(*flows)
    for f in flows:
        f.goes_on()
    check(marked(client) > before, "nothing of what was held has the mark")


def comes_home_thrice(lab, n, away, filtered=None):
    client, router, server = routed(lab, n)
    for h in (client, server) if filtered else ():
        filtered(h, n)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    flows += [stream(client, server, k, fam=n.fam) for k in ("up", "down")]
    if away[0] == "eth0":  # two paths may overtake each other
        flows += [udp(client, server, k, fam=n.fam) for k in ("up", "down")]
    lab.protected(*flows)
    count_marked(client)
    asked = [neighbours_asked(lab, client, n, n.ip(2, 3)),
             neighbours_asked(lab, server, n, n.ip(1, 2))]
    astray = (away[0] != "eth0" and
              lab.capture(client, away[0], f"src host {n.ip(1, 2)}"))
    rounds = [goes_home(lab, client, flows, n, ("eth0", 1, 2), away, astray)
              for _ in range(3)]
    gaps = [max(came) for _, came in rounds]
    said = (f"home with gaps of {', '.join(f'{g:.0f}' for g in gaps)} ms, at "
            f"worst {longer_home(rounds):.0f} ms more than away")
    lab.settled(*flows)
    if not lab.without_daemons:
        count = marked(client)
        check(count < MARKED_MAX, f"{count} packets left with the mark")
        # what the daemons make it wait for, it waits for each time
        check(min(gaps) < patient(HOME_MS) and
              max(gaps) < patient(LOSS_MS) and
              longer_home(rounds) < patient(LONGER_MS), said)
        for c in asked:
            c.none("neighbours asked for what is behind a router")
        leaves_with_the_mark(lab, client, flows, n)
    for f in flows:
        f.finish()
    return said


@scenario(fam=(4, 6), alone=True, control="dies")
def home_again_behind_a_router(lab, n):
    """
        client .1.2, .1.9, .1.2 ... -- lan1 -- router -- lan2 -- .2.3 server
    """
    return comes_home_thrice(lab, n, ("eth0", 1, 9))


@scenario(fam=(4, 6), alone=True, control="dies")
def home_again_from_another_interface(lab, n):
    """
        client eth0 .1.2 ---- lan1 ---- router ---- lan2 ---- .2.3 server
        client eth1 .3.9 ---- lan3 ------'
    """
    return comes_home_thrice(lab, n, ("eth1", 3, 9))


def by_nft(host, n):
    """As firewalld has it for IPv6, unless told otherwise."""
    host.run("nft", "-f", "-", input=f"""
        table {n.proto} rp {{ chain in {{
            type filter hook prerouting priority mangle + 10; policy accept;
            {"icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept"
             if n.fam == 6 else ""}
            fib saddr . mark . iif oif missing drop
        }}
        }}""")


def by_iptables(host, n):
    """As NixOS has it for both."""
    tool = "iptables-nft" if n.fam == 4 else "ip6tables-nft"
    host.run(tool, "-t", "mangle", "-A", "PREROUTING", "-m", "rpfilter",
             "--validmark", "--invert", "-j", "DROP")


def by_the_kernel(host, n):
    for dev in "all", "eth0":
        host.sysctl(f"net.ipv4.conf.{dev}.rp_filter", 1)


@scenario(fam=(4, 6), alone=True, control="dies")
def home_again_through_nft_rpfilters(lab, n):
    """As from another interface; firewalls ask where packets come from."""
    return comes_home_thrice(lab, n, ("eth1", 3, 9), by_nft)


@scenario(fam=(4, 6), alone=True, control="dies")
def home_again_through_iptables_rpfilters(lab, n):
    return comes_home_thrice(lab, n, ("eth1", 3, 9), by_iptables)


@scenario(fam=(4,), alone=True, control="dies")
def home_again_through_rp_filter(lab, n):
    return comes_home_thrice(lab, n, ("eth1", 3, 9), by_the_kernel)


@scenario(fam=(4, 6), control="dies")
def own_routes_follow_the_real_ones(lab, n):
    """
        client .1.2, then .1.9 -- lan1 -- .1.1, .1.7 router -- .2.3 server
    """
    client, router, server = routed(lab, n)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(*flows, client=n.ip(1, 9))
    same_route(client, n, n.ip(2, 3), n.ip(1, 1))
    same_route(server, n, n.ip(1, 2), n.ip(2, 1))
    router.add("eth0", n.cidr(1, 7), nodad(n))
    client.route("default via", n.ip(1, 7), "dev eth0 mtu 1400")
    same_route(client, n, n.ip(2, 3), n.ip(1, 7), "1400")
    for f in flows:
        f.goes_on()
        f.finish()


def same_route(host, n, to, gateway, mtu=None):
    """Marked packets to this address leave as all others do."""
    def route(*how):
        out = host.run("ip", "-j", f"-{n.fam}", "route", "get", to,
                       *how).stdout_text
        r = json.loads(out)[0]
        return [r.get(k) for k in ("gateway", "dev", "prefsrc", "metrics")]

    def same():
        real, marked = route(), route("mark", MARK)
        check(real[0] == gateway and (not mtu or mtu in str(real[3])),
              f"the real route is {real}")
        check(real == marked, f"{real} is real, {marked} ours")
        return True
    if not host.lab.without_daemons:
        wait_until(f"{host.name} has the real route to {to}", same)
