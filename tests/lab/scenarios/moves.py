# SPDX-License-Identifier: GPL-2.0-or-later
"""Who moves, when, how often and to what."""
import json
import time

import packets
from flows import echo, stream, udp
from lab import CONTROL_PORT, DRAIN_S, check, wait_until
from scenario import Net, lan, nodad, routed, scenario


def mixed(client, server, n):
    """A talker, a listener and datagrams: the mover may send or only get."""
    return [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam),
            stream(client, server, "up", fam=n.fam),
            stream(client, server, "down", fam=n.fam)]


def end(flows):
    for f in flows:
        f.goes_on()
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), control="dies")
def make_before_break(lab, n):
    """
        client .1.2, then .1.9 (with DAD) ---- lan ---- .1.3 server
    """
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    client.add("eth0", n.cidr(1, 9))
    client.usable(n.cidr(1, 9))
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(*flows, client=n.ip(1, 9))
    end(flows)


@scenario(fam=(4, 6), control="dies")
def server_side_moves(lab, n):
    """
        client .1.2 ---- lan ---- .1.3, then .1.13 server
    """
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    server.add("eth0", n.cidr(1, 13), nodad(n))
    server.delete("eth0", n.cidr(1, 3))
    lab.settled(*flows, server=n.ip(1, 13))
    end(flows)


@scenario(fam=(4, 6), timeout=150, control="dies")
def each_side_in_turn_20_moves(lab, n):
    """
        client .1.2, .1.20, .1.22 ... ---- lan ---- .1.3, .1.21 ... server
    """
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    now = {client: 2, server: 3}
    for i in range(20):
        host = server if i % 2 else client
        host.add("eth0", n.cidr(1, 20 + i), nodad(n))
        host.delete("eth0", n.cidr(1, now[host]))
        now[host] = 20 + i
        lab.settled(*flows, client=n.ip(1, now[client]),
                    server=n.ip(1, now[server]) if i else None)
        for f in flows:
            f.goes_on(5)
    if not lab.without_daemons:
        for h in client, server:
            m = lab.entry(h, flows[0])["moves"]
            check(m == 20, f"{h.name} counts {m} moves, not 20")
    end(flows)


@scenario(fam=(4, 6), control="dies")
def another_interface_first_one_down(lab, n):
    """
        client eth0 .1.2 (goes down) ---- lan1 ---- router ---- lan2 .2.3 server
        client eth1 .3.9 (takes over) --- lan3 ------'
    """
    client, router, server = routed(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    client.add("eth1", n.cidr(3, 9), nodad(n))
    client.ip(f"route add default via {n.ip(3, 1)} dev eth1 "
              "metric 2048")
    client.link("eth0", "down")
    lab.settled(*flows, client=n.ip(3, 9))
    end(flows)


@scenario(fam=(4, 6), control="dies")
def better_route_first_one_stays(lab, n):
    """A better interface comes up; the first one is not lost: no hold."""
    client, router, server = routed(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    held = lab.without_daemons or client.daemon.counter("pkt_held")
    client.add("eth1", n.cidr(3, 9), nodad(n))
    client.ip(f"route replace default via {n.ip(3, 1)} dev eth1")
    lab.settled(*flows, client=n.ip(3, 9))
    for f in flows:
        f.goes_on()
    if not lab.without_daemons:
        now = client.daemon.counter("pkt_held")
        check(now == held, f"{now - held} packets were held")
    client.link("eth0", "down")
    end(flows)


@scenario(fam=(4, 6), control="lives")
def new_connections_when_a_better_route_comes(lab, n):
    """Opened just when the others move; the first interface stays: all live.
    What crosses what is left to chance here: see flows_come_late()."""
    client, router, server = routed(lab, n)
    lab.daemons(client, server)
    first = echo(client, server, fam=n.fam)
    lab.protected(first)
    client.add("eth1", n.cidr(3, 9), nodad(n))
    flows = [first]
    for gateway, dev in ((3, "eth1"), (1, "eth0")) * 2:
        flows.append(echo(client, server, fam=n.fam, busy=10, pace_us=50000,
                          source=n.ip(1, 2)))
        client.ip(f"route replace default via {n.ip(gateway, 1)} dev {dev}")
        time.sleep(1.5)
    lab.protected(*flows)
    for f in flows:
        f.goes_on()
        f.echo_all()
    end(flows)


FLOWS, MOVE, PROVE = 16, 32, 35  # enum wire_type


class Messages:
    """What of one type passes there on its way to the server."""

    def __init__(self, lab, host, n, kind):
        at = "udp[8]" if n.fam == 4 else "ip6[48]"
        self.cap = lab.capture(host, "eth0", snap=2000, expression=(
            f"dst host {n.ip(2, 3)} and udp dst port {CONTROL_PORT} and "
            f"{at} = {kind}"))
        self.what, self.seen = f"a message of type {kind}", 0

    def next(self):
        wait_until(self.what, lambda: len(self.cap.read()) > self.seen, 20,
                   0.001)
        self.seen += 1
        return self.cap.frames[self.seen - 1]

    def forget(self):
        self.seen = len(self.cap.read())


def flows_come_late(lab, n, long_lived_after_s):
    """FLOWS is on its way for longer than what comes after it: it names a
    track where that was, and arrives when the track is offered elsewhere, or
    has moved. The connections that it names stay where they are, and nobody
    is sent anything that its stack answers with RST.

        client eth0 .1.2 ---- lan1 ---- router (is late) ---- lan2 ---- server
        client eth1 .3.9 ---- lan3 ------'
    """
    client, router, server = routed(lab, n)
    lab.daemons(client, server, long_lived_after_s=long_lived_after_s)
    first = echo(client, server, fam=n.fam)
    lab.protected(first, timeout=long_lived_after_s + 10)
    client.add("eth1", n.cidr(3, 9), nodad(n))
    resets = lab.capture(server, "eth0", "tcp[13] & 4 != 0" if n.fam == 4
                         else "ip6[6] = 6 and ip6[53] & 4 != 0")
    late = Messages(lab, client, n, FLOWS)
    moves = Messages(lab, server, n, MOVE)
    inject = packets.Injector(router, "eth1")
    flows = [first]

    def changes(gateway, dev):
        client.ip(f"route replace default via {n.ip(gateway, 1)} dev {dev}")
        return None if dev == "eth0" else n.ip(3, 9)

    for lost in f"{{ {FLOWS}, {PROVE} }}", f"{{ {FLOWS} }}":
        router.run("nft", "table inet late { chain forward { type filter hook "
                   f"forward priority 0; udp dport {CONTROL_PORT} @th,64,8 "
                   f"{lost} drop; }}; }}")
        late.forget()
        moves.forget()
        flows.append(echo(client, server, fam=n.fam, busy=10, pace_us=5000,
                          source=n.ip(1, 2)))
        if not lab.without_daemons:
            m = packets.Parsed(late.next())
        at = changes(3, "eth1")
        if not lab.without_daemons:
            moves.next()
            if str(PROVE) not in lost:
                lab.settled(first, client=at)
            heard = server.daemon.counter("flows_rx")
            # the capture has it without a checksum
            inject.packet(server.mac("eth0"), packets.ip(
                m.src, m.dst, packets.UDP, packets.udp(
                    m.sport, m.dport, m.payload)))
            wait_until("the server hears of them", lambda:
                       server.daemon.counter("flows_rx") > heard)
        for f in flows:
            f.goes_on()
        router.run("nft", "delete table inet late")
        lab.settled(first, client=at)
        for f in flows:
            f.goes_on()
        lab.settled(first, client=changes(1, "eth0"))
    lab.protected(*flows, timeout=long_lived_after_s + 10)
    resets.none("reset")
    for f in flows:
        f.echo_all()
    end(flows)


@scenario(fam=(4, 6), control="lives")
def connections_named_where_the_track_was(lab, n):
    flows_come_late(lab, n, 0)


@scenario(fam=(4, 6), control="lives", timeout=120)
def old_connections_named_where_the_track_was(lab, n):
    """As they are named by default: at the age of ten seconds."""
    flows_come_late(lab, n, 10)


@scenario(fam=(4, 6), control="dies")
def another_subnet(lab, n):
    """
        client .1.2, then .4.9 on the same link ---- router ---- .2.3 server
    """
    client, router, server = routed(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    client.add("eth0", n.cidr(4, 9), nodad(n))
    client.route("default via", n.ip(4, 1), "dev eth0")
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(*flows, client=n.ip(4, 9))
    end(flows)


@scenario(fam=(4, 6), control="dies")
def break_before_make_3_s(lab, n):
    """The address is gone for 3 s before the next one comes."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    client.delete("eth0", n.cidr(1, 2))
    time.sleep(3)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    end(flows)


@scenario(fam=(4, 6), control="dies")
def server_breaks_before_make_3_s(lab, n):
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    server.delete("eth0", n.cidr(1, 3))
    time.sleep(3)
    server.add("eth0", n.cidr(1, 13), nodad(n))
    lab.settled(*flows, server=n.ip(1, 13))
    end(flows)


@scenario(timeout=90, control="dies")
def temporary_address_deprecated_then_expires(lab):
    """
        client ::2 for good, ::aaaa for a while ---- lan ---- ::3 server
    """
    n = Net(6)
    client, server = lan(lab, n)
    temporary = "fd00:1::aaaa"
    # a change of lifetimes would give the prefix route, which both addresses
    # share, the same end (and a wrong one: it is gone at once)
    client.add("eth0", temporary + "/64", "nodad", "noprefixroute")
    lab.daemons(client, server)
    flows = [echo(client, server, fam=6, source=temporary),
             udp(client, server, fam=6, source=temporary),
             stream(client, server, "down", fam=6, source=temporary)]
    lab.protected(*flows)
    held = lab.without_daemons or client.daemon.counter("pkt_held")
    client.ip(f"address change {temporary}/64 dev eth0 preferred_lft 2 "
              "valid_lft 6 noprefixroute")
    lab.settled(*flows, client=n.ip(1, 2))
    for f in flows:
        f.goes_on()
    if not lab.without_daemons:
        check(client.daemon.counter("pkt_held") == held, "packets were held")
    wait_until("the address has expired", lambda: temporary not in
               client.run("ip", "-6", "-br", "address").stdout_text, 15, 0.1)
    end(flows)


@scenario(timeout=90, control="dies")
def privacy_addresses_follow_one_another(lab):
    """Real temporary addresses (RFC 8981), made from a router's
    advertisement: the flow outlives the one that it was opened with.

        client, temporary addresses ---- lan ---- ::3 server (advertises)
    """
    client, server = lab.build("""
        client eth0 -             lan
        server eth0 fd00:1::3/64,fe80::3/64 lan
    """)
    for name, value in (("use_tempaddr", 2), ("temp_prefered_lft", 9),
                        ("temp_valid_lft", 16), ("accept_ra", 1)):
        client.sysctl(f"net.ipv6.conf.eth0.{name}", value)
    packets.Injector(server, "eth0").frame(packets.advertisement(
        server.mac("eth0"), "fe80::3", "fd00:1::", 3600, 1800))

    def temporary():
        out = json.loads(client.run("ip", "-j", "-6", "address", "show", "dev",
                                    "eth0").stdout_text)
        return [a["local"] for a in out[0]["addr_info"] if a.get("temporary")
                and not a.get("tentative") and not a.get("deprecated")]
    wait_until("a temporary address", temporary, 10, 0.1)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=6), stream(client, server, "down",
                                                 fam=6)]
    first = [f.near_addr for f in flows]
    listed = json.loads(client.run("ip", "-j", "-6", "address").stdout_text)
    check(all(any(a["local"] == x and a.get("temporary") for d in listed
                  for a in d.get("addr_info", ()) if "local" in a)
              for x in first), f"not from temporary addresses: {first}")
    lab.protected(*flows)
    wait_until(f"{first} have expired", lambda: not any(
        x in client.run("ip", "-6", "address").stdout_text for x in first),
        40, 0.2)
    for f in flows:
        f.goes_on()
    if not lab.without_daemons:
        for f in flows:
            e = lab.entry(client, f)
            check(e["state"] in ("moved", "moving"), f"{e}")
    end(flows)


def both_deprecate(lab, n, client, server):
    """Each gets a new address and deprecates the old one, at one time."""
    for h, new in (client, 12), (server, 13):
        h.add("eth0", n.cidr(1, new), nodad(n))
    for h, old in (client, 2), (server, 3):
        h.ip(f"address change {n.cidr(1, old)} dev eth0 preferred_lft 0")


@scenario(fam=(4, 6), control="dies")
def both_ends_at_once(lab, n):
    """
        client .1.2, then .1.12 ---- lan ---- .1.3, then .1.13 server
    """
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    both_deprecate(lab, n, client, server)
    lab.settled(*flows, client=n.ip(1, 12), server=n.ip(1, 13))
    client.delete("eth0", n.cidr(1, 2))
    server.delete("eth0", n.cidr(1, 3))
    end(flows)


@scenario(fam=(4, 6), control="dies")
def both_gone_one_returns(lab, n):
    """Neither knows where the other went, until one is back where it was."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    client.delete("eth0", n.cidr(1, 2))
    server.delete("eth0", n.cidr(1, 3))
    client.add("eth0", n.cidr(1, 12), nodad(n))
    time.sleep(1)
    server.add("eth0", n.cidr(1, 3), nodad(n))
    lab.settled(*flows, client=n.ip(1, 12), timeout=20)
    end(flows)


@scenario(fam=(4, 6))
def a_move_back_removes_all_steering(lab, n):
    """There and back: the plain state, and nothing queued any more."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    # datagrams that are never 20 ms apart stay on the queue for their order
    flows = [
        echo(client, server, fam=n.fam),
        udp(client, server, fam=n.fam, pace_us=40000),
        stream(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    for h in client, server:
        check(h.steered().get(f"out{n.fam}"), f"{h.name} steers nothing")
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 2), nodad(n))
    lab.settled(*flows)

    def plain():
        for h in client, server:
            left = {s: len(e) for s, e in h.steered().items()
                    if s.startswith(("out", "in", "pass", "wire"))}
            check(not left, f"{h.name} still steers {left}")
        return True
    wait_until("steering is gone", plain, DRAIN_S + 2)
    was = client.queued_each(), server.queued_each()
    for f in flows:
        f.goes_on()
    for h, before in zip((client, server), was):
        for q, n_queued in h.queued_each().items():  # some may have ended
            check(n_queued == before.get(q), f"{h.name} queues packets")
    end(flows)


@scenario(fam=(4, 6), control="dies")
def flapping_address(lab, n):
    """Gone and back ten times: the flow goes on and nothing is steered."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    if lab.without_daemons:
        client.delete("eth0", n.cidr(1, 2))
    for _ in range(0 if lab.without_daemons else 10):
        client.ip(f"address del {n.cidr(1, 2)} dev eth0",
                  f"address add {n.cidr(1, 2)} dev eth0 {nodad(n)}")
        time.sleep(0.05)
    lab.settled(*flows)
    if not lab.without_daemons:
        m = lab.entry(client, flows[0])["moves"]
        check(m == 0, f"{m} moves to the same address")
    end(flows)


def reverse_path_filter(lab, value):
    """
        client eth0 .1.2, .1.9, eth1 .3.9 -- router -- .2.3, .2.13 server
    """
    n = Net(4)
    client, router, server = routed(lab, n)
    for h, devs in (client, ("all", "eth0", "eth1")), (server, ("all", "eth0")):
        for d in devs:
            h.sysctl(f"net.ipv4.conf.{d}.rp_filter", value)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
    client.route("default via", n.ip(1, 1), "dev eth0")
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    server.replace("eth0", n.cidr(2, 3), n.cidr(2, 13))
    server.route("default via", n.ip(2, 1), "dev eth0")
    lab.settled(*flows, client=n.ip(1, 9), server=n.ip(2, 13))
    for f in flows:
        f.goes_on()
    client.add("eth1", n.cidr(3, 9))
    client.link("eth0", "down")
    client.route("default via", n.ip(3, 1), "dev eth1")
    lab.settled(*flows, client=n.ip(3, 9), server=n.ip(2, 13))
    end(flows)


@scenario(control="dies")
def rp_filter_off(lab):
    reverse_path_filter(lab, 0)


@scenario(control="dies")
def rp_filter_strict(lab):
    reverse_path_filter(lab, 1)


@scenario(control="dies")
def rp_filter_loose(lab):
    reverse_path_filter(lab, 2)


@scenario()
def operator_moves_a_flow(lab):
    """`sacipctl move`: one flow, then all of a peer, then back."""
    n = Net(4)
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = mixed(client, server, n)
    lab.protected(*flows)
    client.add("eth0", n.cidr(1, 9))
    d = client.daemon
    d.ctl("move", "--to", n.ip(1, 9))
    lab.settled(*flows, client=n.ip(1, 9))
    d.ctl("move", "--from", n.ip(1, 9), "--to", n.ip(1, 2))
    lab.settled(*flows)
    refused = d.ctl("move", "--to", "10.9.9.9", check=False)
    check(refused.returncode == 1, f"a foreign address: {refused.returncode}")
    check(refused.stderr_text.count("\n") == 1, refused.stderr_text)
    refused = d.ctl("move", "--to", "eth9", check=False)
    check(refused.returncode == 1 and "interface" in refused.stderr_text,
          f"no interface: {refused.returncode}, {refused.stderr_text}")
    end(flows)
