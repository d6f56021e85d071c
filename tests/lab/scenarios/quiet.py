# SPDX-License-Identifier: GPL-2.0-or-later
"""What must not be seen: packets in queues before a move, messages where
policy forbids them, remains after the end."""
import signal
import socket
import time

from flows import echo, stream, udp
from lab import check, wait_until
from scenario import Net, lan, nodad, routed, scenario


def kernel_counts(host):
    """Packets by counter of the daemon's table; all queued packets."""
    found = {o["counter"]["name"]: o["counter"]["packets"]
             for o in host.table() if "counter" in o and "name" in o["counter"]}
    check(found, f"{host.name}: no named counters in table inet sacip")
    found["queued"] = host.queued()
    found["pkt_queued"] = host.daemon.counter("pkt_queued")
    return found


@scenario(fam=(4, 6))
def nothing_is_queued_before_a_move(lab, n):
    """By the kernel's counts, but for the packets by which the ends prove who
    they are; after a move the same counts do rise."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam),
             stream(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    proofs = {h: kernel_counts(h) for h in (client, server)}
    for f in flows:
        f.goes_on(500)
    for h in client, server:
        used = {k: v for k, v in kernel_counts(h).items() if v != proofs[h][k]}
        check(not used, f"{h.name}, nothing has moved: {used}, with proofs "
              f"alone {proofs[h]}")
        check(proofs[h]["pkt_queued"] <= 2 * len(flows), f"{proofs[h]}")
        rows = h.queues().splitlines()
        check(rows, f"{h.name}: no queue is open, so nothing was tested")
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on(100)
    for h in client, server:
        k = kernel_counts(h)
        check(k["queued"] > proofs[h]["queued"] and
              k["pkt_queued"] > proofs[h]["pkt_queued"],
              f"{h.name}, after a move: {k}")
    for f in flows:
        f.finish()


@scenario(fam=(4, 6))
def others_are_left_alone(lab, n):
    """Beside a moved flow, one that is not protected is never queued."""
    client, server, other = lan(lab, n, f"other eth0 {n.cidr(1, 5)} lan")
    # no attempt at the other: an ICMP error that comes back is looked at
    client.saciped(initiate=[n.ip(1, 3)])
    server.saciped()
    flow = echo(client, server, fam=n.fam)
    lab.protected(flow)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    plain = [echo(client, other, fam=n.fam, source=n.ip(1, 9)),
             udp(client, other, fam=n.fam, source=n.ip(1, 9))]
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(flow, client=n.ip(1, 9))
    flow.finish()
    wait_until("nothing more is queued", lambda: still(client), 10, 0.3)
    was = client.queued()
    for p in plain:
        p.goes_on(300)
    check(client.queued() == was, f"{client.queued() - was} packets queued")
    for p in plain:
        p.finish()


def still(host):
    was = host.queued()
    time.sleep(0.2)
    return host.queued() == was


@scenario(fam=(4, 6), timeout=90)
def peer_without_a_daemon(lab, n):
    """One attempt per step of the backoff; nothing else changes."""
    client, server = lan(lab, n)
    wire = lab.capture(client, "eth0", "udp port 1021 and "
                                       f"{n.proto} src {n.ip(1, 2)}")
    client.saciped(initiate=[n.any])
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    began = time.monotonic()
    wait_until("an attempt was made", wire.read, 10)
    for f in flows:
        wait_until(f"{f} is listed with its reason", lambda f=f: (lambda e: (
            e["state"], e["reason"]))(lab.entry(client, f)) ==
            ("tracked", "no_peer"), 15)
    time.sleep(max(0, began + 12 - time.monotonic()))
    wire.read()
    times = [t / 1e9 for t in wire.times]
    steps = [b - a for a, b in zip(times, times[1:])]
    # 1, 2, 4 ... s with a quarter of jitter: at most 5 in 12 s
    check(len(times) <= 5, f"{len(times)} attempts in 12 s: {steps}")
    check(all(s > 0.7 for s in steps), f"attempts follow too close: {steps}")
    check(all(b > a for a, b in zip(steps, steps[1:])),
          f"the steps do not grow: {steps}")
    check(client.queued() == 0, "packets are queued")
    for f in flows:
        f.goes_on().finish()


@scenario(fam=(4, 6))
def peer_without_a_daemon_moves_as_ever(lab, n):
    """A flow without a peer: as if there were no daemon, back it lives."""
    client, server = lan(lab, n)
    client.saciped(initiate=[n.any])
    flow = echo(client, server, fam=n.fam)
    wait_until("it is listed", lambda: lab.entry(client, flow), 5)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    new = echo(client, server, fam=n.fam)
    new.goes_on().finish()
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 2), nodad(n))
    flow.goes_on(timeout=15).finish()


@scenario(fam=(4, 6))
def nobody_may_initiate(lab, n):
    """No prefix, no configured peer: not one packet of ours is sent."""
    client, server = lan(lab, n)
    wire = lab.capture(client, "eth0", "udp port 1021 or icmp")
    for h in client, server:
        h.saciped()
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    for f in flows:
        for h in client, server:
            wait_until(f"{f} is listed at {h.name} with its reason",
                       lambda: lab.entry(h, f)["reason"] in
                       ("policy", "no_peer"), 10)
    time.sleep(3)
    wire.none("messages although nobody may initiate")
    for f in flows:
        check(lab.entry(client, f)["state"] == "tracked", "not tracked")
        f.goes_on().finish()


@scenario()
def denied_flows_are_not_cared_for(lab):
    """`deny` wins; `allow` admits only what it names."""
    n = Net(4)
    client, server = lan(lab, n)
    wire = lab.capture(client, "eth0", "udp port 1021")
    client.saciped(initiate=["0.0.0.0/0"], deny=["tcp 10.1.0.0/24 7001-7002"],
                   allow=["10.0.0.0/8"])
    server.saciped()
    denied = [echo(client, server), echo(client, server)]
    for f in denied:
        wait_until(f"{f} is listed as policy", lambda f=f:
                   lab.entry(client, f)["reason"] == "policy", 10)
    time.sleep(2)
    wire.none("a handshake for denied flows")
    free = echo(client, server)
    lab.protected(free)
    for f in denied:
        check(lab.entry(client, f)["state"] == "tracked", "denied, not tracked")
    for f in *denied, free:
        f.finish()


@scenario()
def configured_peers_by_key(lab):
    """`peers` with keys and "pinned": no `initiate` is needed, and the trust
    is said. Both ends may open: the protocol's rule decides who does."""
    n = Net(4)
    client, server = lan(lab, n)
    for h in client, server:
        h.saciped()
    if lab.without_daemons:
        return
    keys = {h: h.daemon.json("key")["public_key"] for h in (client, server)}
    for h, o in (client, server), (server, client):
        h.daemon.stop()
        h.daemon.conf.update(first_contact="pinned", peers=[{
            "name": o.name, "public_key": keys[o],
            "addresses": [o.address()]}])
        h.daemon.start()
    flow = echo(client, server)
    lab.protected(flow, timeout=12)
    for h in client, server:
        e = lab.entry(h, flow)
        check(e["trust"] == "configured", f"{h.name}: trust {e['trust']}")
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
    lab.settled(flow, client=n.ip(1, 9))
    flow.goes_on().finish()


@scenario()
def an_unknown_key_is_refused_where_pinned(lab):
    n = Net(4)
    client, server = lan(lab, n)
    client.saciped(initiate=["0.0.0.0/0"])
    server.saciped(first_contact="pinned")
    flow = echo(client, server)
    wait_until("the server refused it", lambda: server.daemon.counter(
        "hs_failed") + server.daemon.counter("policy") +
        server.daemon.counter("hs_init_silent") > 0, 10)
    time.sleep(2)
    for h in client, server:
        check(lab.entry(h, flow)["state"] == "tracked", "it is owned")
    flow.goes_on().finish()


def said_end(host, what):
    last = host.daemon.process.text().splitlines()[-1]
    check(f"ended: {what}" in last, f"{host.name}: the last line is: {last}")


@scenario(fam=(4, 6))
def sigterm_leaves_nothing(lab, n):
    """Unmoved flows live on; moved ones end; the kernel is as before. (Every
    scenario compares rules, routes, addresses, tables and files at its end.)
    """
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam)
    lab.protected(flow)
    server.daemon.stop()
    client.daemon.stop()
    for h in client, server:
        said_end(h, "0 moved connections closed, table inet sacip removed")
    flow.goes_on()
    for h in client, server:
        h.daemon.start()
    lab.protected(flow, timeout=20)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(flow, client=n.ip(1, 9))
    resets = lab.capture(client, "eth0", "(tcp or udp) and not port 1021 and "
                                         f"{n.proto} host {n.ip(1, 2)}")
    client.daemon.stop()
    wait_until("the moved flow's client has ended",
               lambda: not flow.at_client.alive(), 5)
    resets.none("packets of the old address at the end")
    said_end(client, "1 moved connection closed, table inet sacip removed")
    server.daemon.stop()


@scenario()
def reasons_are_listed(lab):
    """What cannot be protected says why."""
    n = Net(4)
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = {}
    opened = []

    def tcp(reason, near=client, far=server, to=n.ip(1, 3), fam=2, **opts):
        listener = far.socket(fam, 1, opts.get("proto", 0))
        listener.bind((to, 0))
        s = near.socket(fam, 1, opts.get("proto", 0))
        if "prepare" in opts:
            opts["prepare"](listener, n.ip(1, 2))
            opts["prepare"](s, n.ip(1, 3))
        listener.listen()
        s.settimeout(5)
        s.connect(listener.getsockname())
        opened.extend((listener, s, listener.accept()[0]))
        flows[reason] = s.getsockname()[1]

    def bound(s, _):
        if s.getsockname()[1] == 0:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")

    def md5(s, other):
        key = b"secret"
        s.setsockopt(socket.IPPROTO_TCP, 14, b"\2\0\0\0" + socket.inet_aton(
            other) + bytes(120) + b"\0\0" + len(key).to_bytes(2, "little") +
            bytes(4) + key + bytes(80 - len(key)))

    tcp("bound", prepare=bound)
    tcp("loopback", far=client, to="127.0.0.1")
    tcp("tcp_md5", prepare=md5)
    try:
        tcp("mptcp", proto=262)
    except OSError:
        pass  # a kernel without MPTCP
    u, far = client.socket(2, 2), server.socket(2, 2)
    far.bind((n.ip(1, 3), 5000))  # and never connected
    u.connect((n.ip(1, 3), 5000))
    opened.extend((u, far))
    flows["unconnected"] = u.getsockname()[1]
    for reason, port in flows.items():
        wait_until(f"{reason} is listed", lambda: any(
            e["reason"] == reason and e["state"] == "tracked"
            for e in client.daemon.list()
            if port in (e["identity"]["local"]["port"],
                        e["identity"]["remote"]["port"])), 8)
    for s in opened:
        s.close()


@scenario()
def two_daemons_do_not_touch_each_other(lab):
    """Same runtime directory names, other namespaces; one of them ends."""
    n = Net(4)
    client, server, other = lan(lab, n, f"other eth0 {n.cidr(1, 5)} lan")
    lab.daemons(client, server, other)
    flows = [echo(client, server), echo(client, other)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
    lab.settled(*flows, client=n.ip(1, 9))
    flows[1].finish()
    other.daemon.stop()
    flows[0].goes_on()
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 10))
    lab.settled(flows[0], client=n.ip(1, 10))
    flows[0].goes_on().finish()


@scenario()
def translated_on_the_path(lab):
    """
        client .1.2 ---- router masquerades ---- .2.3 server
    """
    n = Net(4)
    client, router, server = routed(lab, n)
    router.run("nft", "table ip nat { chain post { type nat hook postrouting "
               "priority 100; oif eth1 masquerade; }; }")
    lab.daemons(client, server)
    flow = echo(client, server)
    wait_until("its reason is nat", lambda: lab.entry(client, flow)["reason"]
               == "nat", 15)
    time.sleep(2)
    check(lab.entry(client, flow)["state"] == "tracked", "it is owned")
    check(all(e["state"] == "tracked" for e in server.daemon.list()), "owned")
    flow.goes_on().finish()


@scenario()
def a_killed_daemon_is_cleaned_up_after(lab):
    """kill -9 of the peer's daemon; the next start finds what it left, and
    as it may open a handshake the flow is proven again."""
    n = Net(4)
    client, server = lan(lab, n)
    for h in client, server:
        h.saciped(initiate=[n.any])
    flow = echo(client, server)
    lab.protected(flow)
    server.daemon.process.signal(signal.SIGKILL)
    server.daemon.process.wait()
    flow.goes_on()
    server.daemon.start()
    lab.protected(flow, timeout=40)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
    lab.settled(flow, client=n.ip(1, 9), timeout=20)
    flow.goes_on().finish()


@scenario()
def a_restarted_peer_is_found_again(lab):
    """The peer's daemon is started anew; the flow is proven again."""
    n = Net(4)
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = echo(client, server)
    lab.protected(flow)
    server.daemon.stop()
    server.daemon.start()
    lab.protected(flow, timeout=25)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
    lab.settled(flow, client=n.ip(1, 9))
    flow.goes_on().finish()
