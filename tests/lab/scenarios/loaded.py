# SPDX-License-Identifier: GPL-2.0-or-later
"""Moved flows in the kernel's maps under load, and what must get through to
the daemon or the socket all the same."""
import time

import packets
from flows import Pair, copy, echo, udp
from lab import check, wait_until
from promoted import moves_to, on_path
from scenario import lan, nodad, routed, scenario

GRACE_NS = 1000000  # what was on its way through the cable already
MOVES = 20
# Datagrams that never leave the queue quiet (for 20 ms) are taken into the
# kernel in a gap after 4 s: where the daemon gets no CPU in it, some come out
# of order. These are quiet; workers keep the order of any.
PACE_US = {"kernel": 30000, "queue": 500}
MORE = 10 << 20


class Wire:
    """Every packet of some flows at one host's port of the switch. Each end
    has an address at a time, its identity first; an address that was deleted
    sends nothing any more, and no packet has ends that were never given."""

    def __init__(self, lab, host, flows):
        ports = " or ".join(f"{f.proto} port {f.server_port}" for f in flows)
        self.capture = lab.capture(host, "eth0", ports, snap=96)
        self.flows, self.seen = flows, 0
        self.gone = {}  # address: when

    def check(self, client, server):
        """What came since the last check; `client`, `server`: the addresses
        that each had meanwhile."""
        frames = self.capture.read()
        ends = {(f.port, f.server_port) for f in self.flows}
        for i in range(self.seen, len(frames)):
            p, at = packets.Parsed(frames[i]), self.capture.times[i]
            out = (p.sport, p.dport) in ends
            check(out or (p.dport, p.sport) in ends,
                  f"ports {p.sport} {p.dport}")
            near, far = (p.src, p.dst) if out else (p.dst, p.src)
            check(near in client and far in server,
                  f"{p.src} > {p.dst}, but {client} and {server}")
            check(at < self.gone.get(p.src, at) + GRACE_NS,
                  f"{p.src} > {p.dst}, "
                  f"{(at - self.gone.get(p.src, at)) / 1e6:.1f} ms after it "
                  "was deleted")
        check(len(frames) > self.seen, f"nothing ({self.capture.what})")
        self.seen = len(frames)


def move(lab, n, host, old, new, breaks):
    """`breaks`: the old address goes first. Returns when it had gone."""
    if not breaks:
        host.add("eth0", n.cidr(1, new), nodad(n))
        wait_until(f"{host.name} moves to {n.ip(1, new)}", lambda:
                   not host.daemon.ctl("move", "--from", n.ip(1, old), "--to",
                                       n.ip(1, new), check=False).returncode)
        return None
    _, gone = host.delete_now("eth0", n.cidr(1, old))
    host.add("eth0", n.cidr(1, new), nodad(n))
    return gone


def moves_under_load(lab, n, path):
    client, server = lan(lab, n)
    lab.daemons(client, server, rewrite=path)
    flows = [copy(client, server, fam=n.fam),
             copy(client, server, "down", fam=n.fam),
             udp(client, server, "up", pace_us=PACE_US[path], fam=n.fam),
             udp(client, server, "down", pace_us=PACE_US[path], fam=n.fam)]
    lab.protected(*flows)
    wires = [Wire(lab, h, flows) for h in (client, server)]
    now = {client: 2, server: 3}
    for i in range(MOVES):
        host = (client, server)[i // 2 % 2]
        old, new, breaks = now[host], 20 + i, bool(i % 2)
        had = {h: {n.ip(1, now[h])} for h in now}
        had[host].add(n.ip(1, new))
        gone = move(lab, n, host, old, new, breaks)
        now[host] = new
        lab.settled(*flows, client=n.ip(1, now[client]),
                    server=n.ip(1, now[server]) if now[server] != 3 else None)
        if not gone:
            _, gone = host.delete_now("eth0", n.cidr(1, old))
        for w in wires:
            w.gone[n.ip(1, old)] = gone
        if i % 5 == 4:
            on_path(lab, path, *flows)
        for f in flows:
            f.goes_on(10)
        for w in wires:
            w.check(had[client], had[server])
    for f in flows:
        f.finish()
    for h in client, server:
        check(h.daemon.counter("pkt_held") > 0, f"{h.name} held nothing")


@scenario(fam=(4, 6), alone=True, timeout=150)
def twenty_moves_under_load(lab, n):
    """Demoted and promoted at every other move: byte streams with the same
    hash, datagrams in order and none twice, and on the wire no packet from
    an address that is gone, nor one with an end that nobody has."""
    moves_under_load(lab, n, "kernel")


@scenario(fam=(4, 6), timeout=150, long=True)
def twenty_moves_under_load_by_queue(lab, n):
    """The same where the daemons rewrite."""
    moves_under_load(lab, n, "queue")


@scenario(fam=(4, 6))
def a_route_goes_before_its_address(lab, n):
    """As the kernel does it when an address is deleted, for a longer while:
    programs whose packets are rewritten to it are not told."""
    client, server = lan(lab, n)
    lab.daemons(client, server, rewrite="kernel")
    flows = [copy(client, server, fam=n.fam),
             udp(client, server, "up", pace_us=PACE_US["kernel"], fam=n.fam)]
    lab.protected(*flows)
    moves_to(lab, n, 9, *flows)
    client.delete("eth0", n.cidr(1, 2))
    on_path(lab, "kernel", *flows)
    subnet = "10.1.0.0/24" if n.fam == 4 else "fd00:1::/64"
    client.ip(f"route del {subnet} dev eth0")
    time.sleep(0.3)
    client.ip(f"route add {subnet} dev eth0")
    for f in flows:
        f.goes_on()
        f.finish()


def path_shrinks(lab, n, kind, narrow):
    client, router, server = routed(lab, n)
    lab.daemons(client, server, rewrite="kernel")
    flow = copy(client, server, kind, fam=n.fam)
    lab.protected(flow)
    client.add("eth0", n.cidr(4, 9), nodad(n))
    client.route("default via", n.ip(4, 1), "dev eth0")
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(flow, client=n.ip(4, 9))
    on_path(lab, "kernel", flow)
    sender = client if kind == "up" else server
    before = sender.daemon.counter("icmp_translated")
    for h, dev in narrow(client, router, server):
        h.link(dev, "mtu", 1300)
    flow.reaches(flow.receiver.rx_bytes + MORE)
    check(sender.daemon.counter("icmp_translated") > before,
          "no ICMP error was translated")
    for h in client, server:
        check(lab.entry(h, flow)["path"] == "kernel", "demoted")
    flow.finish()


@scenario(fam=(4, 6))
def path_shrinks_before_the_peer(lab, n):
    """A router's "too big" quotes what the kernel's map has made of the
    packet, and finds the socket of the host that has moved."""
    path_shrinks(lab, n, "up", lambda client, router, server:
                 ((router, "eth1"), (server, "eth0")))


@scenario(fam=(4, 6))
def path_shrinks_before_the_mover(lab, n):
    """The same for the end that has not moved."""
    path_shrinks(lab, n, "down", lambda client, router, server:
                 ((router, "eth0"), (client, "eth0")))


@scenario(fam=(4, 6))
def a_flow_whose_port_changed_is_promoted(lab, n):
    """Its wire tuple was taken: address and port are rewritten by the kernel
    at both ends, and nothing is queued."""
    client, server = lan(lab, n)
    lab.daemons(client, server, rewrite="kernel")
    flows = [echo(client, server, fam=n.fam, source=n.ip(1, 2),
                  source_port=40000),
             copy(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    taken = Pair(client, n.ip(1, 9), 40000, server, n.ip(1, 3),
                 flows[0].server_port, served=True).goes_on()
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(*flows, client=n.ip(1, 9))
    check(lab.wire(client, flows[0])[0][1] != 40000, "it kept the port")
    on_path(lab, "kernel", *flows)
    # the other connection is proved by packets that are taken out
    wait_until("all three are owned", lambda: all(
        h.daemon.counter("flows_confirmed") == 3 for h in (client, server)), 5)
    before = [h.daemon.counter("pkt_queued") for h in (client, server)]
    for x in flows[0], taken, flows[1]:
        x.goes_on()
    after = [h.daemon.counter("pkt_queued") for h in (client, server)]
    check(before == after, f"packets were queued: {before} {after}")
    taken.close()
    moves_to(lab, n, 10, *flows)
    for f in flows:
        f.goes_on()
        f.finish()


STATEFUL = """
table inet filter {
	counter invalid { }
	counter seen { }
	chain input {
		type filter hook input priority filter
		ct state established counter name seen
		iif != lo ct state invalid counter name invalid drop
	}
	chain output {
		type filter hook output priority filter
		oif != lo ct state invalid counter name invalid drop
	}
}
"""


def counted(host, name):
    out = host.run("nft", "-j", "list", "counter", "inet", "filter",
                   name).stdout_text
    return int(out.split('"packets": ')[1].split(",")[0].split("}")[0])


@scenario(fam=(4, 6))
def connection_tracking_sees_the_identity(lab, n):
    """A firewall that drops what belongs to no connection, at both ends: the
    flow stays the one that it was. (Of the two probes of wake_poke() one
    belongs to none; they stay on lo.)"""
    client, server = lan(lab, n)
    for h in client, server:
        h.run("nft", "-f", "-", input=STATEFUL)
    lab.daemons(client, server, rewrite="kernel")
    flows = [copy(client, server, "up", fam=n.fam),
             copy(client, server, "down", fam=n.fam),
             udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    for host in 9, 10:
        moves_to(lab, n, host, *flows)
        on_path(lab, "kernel", *flows)
        for f in flows:
            f.goes_on(200)
    for h in client, server:
        check(counted(h, "seen") > 100, f"{h.name} tracks nothing")
        check(counted(h, "invalid") == 0,
              f"{h.name}: {counted(h, 'invalid')} packets without a connection")
    for f in flows:
        f.finish()
