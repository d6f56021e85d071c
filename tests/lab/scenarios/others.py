# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of other programs on the same host, which mean no harm."""
import json
import re
import signal
import socket
import time

from flows import copy, echo, udp
from lab import MARK, TABLE, check, wait_until
from scenario import Net, lan, nodad, routed, scenario

# Every packet gets the mark of its connection, and a connection the mark of
# its packets: several uplinks, VPNs and clouds are set up so.
RESTORED = """
table inet marks {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta mark set ct mark
	}
}
"""
SAVED = """
table inet marks {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		ct mark set meta mark
	}
	chain output {
		type route hook output priority mangle; policy accept;
		meta mark set ct mark
		oif != lo meta mark & %#x != 0 counter name restored
	}
	chain postrouting {
		type filter hook postrouting priority mangle; policy accept;
		oif != lo meta mark & %#x != 0 counter name sent
	}
	counter restored { }
	counter sent { }
}
""" % (MARK, MARK)
BY_IPTABLES = """*mangle
-A PREROUTING -j CONNMARK --restore-mark
-A OUTPUT -j CONNMARK --restore-mark
COMMIT
"""


def moves_both_ends(lab, n, client, server):
    """Each end in turn, and the client home again."""
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam),
             copy(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    server.replace("eth0", n.cidr(1, 3), n.cidr(1, 13), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9), server=n.ip(1, 13))
    for f in flows:
        f.goes_on()
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 2), nodad(n))
    lab.settled(*flows, server=n.ip(1, 13))
    for f in flows:
        f.goes_on()
    for f in flows:
        f.finish()


@scenario(fam=(4, 6))
def connection_marks_restored(lab, n):
    """By nft at both ends; what comes has no mark of ours left."""
    ends = lan(lab, n)
    for h in ends:
        h.run("nft", "-f", "-", input=RESTORED)
    moves_both_ends(lab, n, *ends)


@scenario(fam=(4, 6), needs=("iptables-nft-restore",))
def connection_marks_restored_by_iptables(lab, n):
    ends = lan(lab, n)
    for h in ends:
        h.run(f"ip{'6' * (n.fam == 6)}tables-nft-restore", input=BY_IPTABLES)
    moves_both_ends(lab, n, *ends)


def counts(host):
    out = host.run("nft", "-j", "list", "counters", "table", "inet", "marks")
    return {x["counter"]["name"]: x["counter"]["packets"]
            for x in json.loads(out.stdout_text)["nftables"]
            if "counter" in x}


@scenario(fam=(4, 6))
def connection_marks_saved(lab, n):
    """Our bit is saved with all others, and put on what is sent: none of that
    is sent with it, by the routes that are for what comes."""
    client, _, server = routed(lab, n)
    for h in client, server:
        h.run("nft", "-f", "-", input=SAVED)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    client.route("default via", n.ip(1, 1))
    lab.settled(*flows, client=n.ip(1, 9))
    before = [counts(h) for h in (client, server)]
    for f in flows:
        f.goes_on()
    for h, was in zip((client, server), before):
        now = counts(h)
        more = {k: now[k] - was[k] for k in now}
        check(more["restored"], f"{h.name}: no bit was saved: {more}")
        check(not more["sent"], f"{h.name}: sent with our bit: {more}")
    for f in flows:
        f.finish()


# wg-quick's, for a full tunnel. Without a preference: the kernel puts the
# second one in front of the first, and both in front of all but `local`.
INTO_IT = "route", "add", "default", "dev", "lo", "table", "51820"
VPN = "not fwmark 51820 table 51820", "table main suppress_prefixlength 0"


def rule(h, n, what):
    h.run("ip", f"-{n.fam}", "rule", *what.split())


def vpn(n, *hosts, up=True):
    for h in hosts:
        for x in VPN:
            rule(h, n, ("add " if up else "del ") + x)


def places(h, n):
    """Preferences of all rules, and the first of ours."""
    rules = [x.split(":\t") for x in h.run(
        "ip", f"-{n.fam}", "rule").stdout_text.splitlines()]
    return ([int(p) for p, _ in rules],
            next(int(p) for p, x in rules if f"lookup {TABLE + 1}" in x))


def ours_is_first(h, n):
    every, ours = places(h, n)
    return every[1] == ours


@scenario(fam=(4, 6))
def rules_without_a_preference(lab, n):
    """A VPN comes up when flows have moved, and goes down again. What comes
    for them is no longer led to table main."""
    client, server = lan(lab, n)
    for h in client, server:
        h.run("ip", f"-{n.fam}", *INTO_IT)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    before = [places(h, n) for h in (client, server)]
    for _ in range(3):
        vpn(n, client, server)
        for h in client, server:
            wait_until("ours are the first",
                       lambda h=h: ours_is_first(h, n), 2)
        for f in flows:
            f.goes_on()
        vpn(n, client, server, up=False)
        for h, was in zip((client, server), before):
            wait_until("ours are where they were",
                       lambda h=h, was=was: places(h, n) == was, 2)
    # and while it is up
    vpn(n, client, server)
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 10), nodad(n))
    lab.settled(*flows, client=n.ip(1, 10))
    for f in flows:
        f.goes_on().finish()
    vpn(n, client, server, up=False)


@scenario(fam=(4, 6))
def rules_in_front_at_the_start(lab, n):
    """The daemon starts, and starts again, when the VPN is up."""
    client, server = lan(lab, n)
    client.run("ip", f"-{n.fam}", *INTO_IT)
    vpn(n, client)
    rule(client, n, "add pref 900 fwmark 5 table 5")
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    was = places(client, n)
    check(was[1] == 898, f"ours have {was[1]}")
    client.daemon.kill()
    client.daemon.start()
    for f in flows:
        f.goes_on()
    wait_until("nothing is left over", lambda: places(client, n) == was, 2)
    for f in flows:
        f.finish()
    rule(client, n, "del pref 900")
    vpn(n, client, up=False)


@scenario(fam=(4, 6))
def service_address_on_lo(lab, n):
    """Announced by a routing daemon, withdrawn, and announced again: what is
    connected to it lives on, and it is there for those who come then.

        client .1.2, .99.2 on lo ---- router ---- .2.3 server
    """
    client, router, server = routed(lab, n)
    service = n.ip(99, 2)
    on_lo = f"address %s {service}/{32 if n.fam == 4 else 128} dev lo "

    def announce(up):
        client.ip(on_lo % ("add" if up else "del") + nodad(n) * up)
        router.ip(f"route {'replace' if up else 'del'} {service} via "
                  f"{n.ip(1, 2)}")

    announce(True)
    client.addresses.append(service)
    lab.daemons(client, server)
    flows = [echo(server, client, to=service, fam=n.fam),
             copy(server, client, "up", to=service, fam=n.fam)]
    lab.protected(*flows)
    for _ in range(2):
        leaks = lab.capture(router, "eth0", "(tcp or udp) and not port 1021 "
                            f"and {n.proto} host {service}")
        announce(False)
        lab.settled(*flows, server=n.ip(1, 2))
        for f in flows:
            f.goes_on()
        settled = time.time_ns()
        time.sleep(0.3)
        leaks.none("untranslated", settled)
        announce(True)
        new = echo(server, client, to=service, fam=n.fam)
        lab.protected(new)
        for f in new, *flows:
            f.goes_on()
        flows.append(new)
    for f in flows:
        f.finish()


@scenario()
def our_bit_is_somebody_elses(lab):
    """Named at the start, when it comes, and where the file is read again."""
    host, = lab.build("host eth0 10.1.0.2/24 lan")
    rule(host, Net(4), f"add pref 5000 fwmark {MARK:#x}/0x30000000 table 5")
    lab.daemons(host)

    def named(what):
        wait_until(f"{what} is named", lambda: any(
            what in line and re.search("uses? our bit", line)
            for line in host.daemon.process.text().splitlines()), 3)
    named(f"preference 5000, fwmark {MARK:#x}/0x30000000")
    rule(host, Net(6), f"add pref 5001 fwmark {MARK:#x}/{MARK:#x} table 5")
    named("preference 5001")
    host.run("nft", "-f", "-", input=f"""
table inet cloud {{
	chain uplinks {{
		meta mark set meta mark or {MARK:#x}
	}}
}}
""")
    host.daemon.process.signal(signal.SIGHUP)
    named("chain uplinks of table inet cloud")
    rule(host, Net(6), "del pref 5001")
    rule(host, Net(4), "del pref 5000")


@scenario()
def two_sockets_are_connected_alike(lab):
    """
        client .1.2 (SO_REUSEPORT, twice) ---- lan ---- .1.3 server
    """
    n = Net(4)
    client, server = lan(lab, n)
    far = server.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind((n.ip(1, 3), 7001))
    far.connect((n.ip(1, 2), 7002))
    near = [client.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for s in near:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((n.ip(1, 2), 7002))
        s.connect((n.ip(1, 3), 7001))
    lab.daemons(client, server)

    def listed():
        mine, = client.daemon.list()
        return mine["state"] == "protected" and mine["id"]
    known = wait_until("protected", listed)
    time.sleep(3)
    check(listed() == known, f"flow {known} is {client.daemon.list()}")
