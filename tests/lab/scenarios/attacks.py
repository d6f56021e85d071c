# SPDX-License-Identifier: GPL-2.0-or-later
"""A third host on the link with everything that was ever sent."""
import os
import random
import time

import packets
from flows import echo, stream, udp
from lab import CONTROL_PORT, check, wait_until
from scenario import Net, lan, nodad, scenario

NAMED = ("rx_replay", "rx_decrypt", "rx_malformed", "rx_path_mismatch",
         "rx_unknown_index", "rx_stale", "rx_version", "rx_unexpected",
         "rx_reserved", "hs_init_silent", "hs_rate_limited", "hs_failed",
         "hs_init_rx", "hs_cookie_bad", "rx_source_not_to")
FLOOD = 30000
FLOOD_RATE = 5000
GROWTH_KB = 8192


def with_mallory(lab, n):
    """
        client .1.2, then .1.9 --+-- lan --+-- .1.3 server
                                 |
                            mallory .1.6
    """
    return lan(lab, n, f"mallory eth0 {n.cidr(1, 6)} lan")


def bad(counters):
    return sum(counters[c] for c in NAMED if c in counters)


def resend(inject, mac, p, payload):
    """As if it came from the one who sent it, with a right checksum."""
    inject.packet(mac, packets.ip(p.src, p.dst, packets.UDP, packets.udp(
        p.sport, p.dport, payload)))


@scenario(fam=(4, 6), timeout=90)
def replayed_cut_and_flipped_messages(lab, n):
    """All control messages of a real move, again and changed, to both ends:
    the flows stay as they are and counters with names rise."""
    client, server, mallory = with_mallory(lab, n)
    cap = lab.capture(server, "eth0", f"udp port {CONTROL_PORT}", snap=2000)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam),
             stream(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    seen = [packets.Parsed(f) for f in list(cap.read())]
    types = {p.payload[0] for p in seen}
    check({1, 3, 4, 16, 17, 32, 33, 35, 36} <= types,
          f"the capture lacks message types: {sorted(types)}")
    inject = packets.Injector(mallory, "eth0")
    macs = {n.ip(1, 3): server.mac("eth0"), n.ip(1, 2): client.mac("eth0"),
            n.ip(1, 9): client.mac("eth0")}
    rng = random.Random(20)
    for way in replayed, cut, flipped, from_himself:
        before = {h: h.daemon.counters() for h in (client, server)}
        for p in seen:
            for payload in way(p, rng):
                resend(inject, macs[p.dst], p, payload)
        for h in client, server:
            wait_until(f"{h.name} counts the {way.__name__} ones", lambda:
                       bad(h.daemon.counters()) > bad(before[h]), 10)
        lab.settled(*flows, client=n.ip(1, 9))
        for f in flows:
            f.goes_on(50)
        for h in client, server:
            now = h.daemon.counters()
            for name in "moves_committed", "moves_done", "flows_ended":
                check(now[name] == before[h][name],
                      f"{h.name}: {name} changed under {way.__name__}")
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 10), nodad(n))
    lab.settled(*flows, client=n.ip(1, 10))
    for f in flows:
        f.goes_on().finish()


def replayed(p, _):
    return [p.payload]


def cut(p, rng):
    size = len(p.payload)
    return [p.payload[:k] for k in {0, 1, 15, 16, 17, size - 1, size - 16,
                                    rng.randrange(size)}]


def flipped(p, rng):
    out = []
    for at in {0, 1, 2, 5, 9, 15, 16, rng.randrange(len(p.payload)),
               len(p.payload) - 1}:
        changed = bytearray(p.payload)
        changed[at] ^= 1 << rng.randrange(8)
        out.append(bytes(changed))
    return out


def from_himself(p, _):
    """The same bytes from another address: a message proves no path."""
    p.src = p.src.rsplit(":" if ":" in p.src else ".", 1)[0] + (
        ":6" if ":" in p.src else ".6")
    return [p.payload]


@scenario(fam=(4,), timeout=120)
def first_message_flood(lab, n):
    """INITs with forged sources, those of live flows among them: memory is
    bounded, an innocent handshake and a move still succeed."""
    client, server, mallory, friend = lan(
        lab, n, f"mallory eth0 {n.cidr(1, 6)} lan",
        f"friend eth0 {n.cidr(1, 7)} lan")
    cap = lab.capture(server, "eth0", f"udp dst port {CONTROL_PORT} and "
                                      "udp[8] = 1", snap=2000)
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam)
    lab.protected(flow)
    init = packets.Parsed(cap.read()[0])
    rss = resident_kb(server)
    pid = flood(lab, mallory, server, init,
                [n.ip(1, 2), n.ip(1, 7)] + [f"10.1.0.{k}" for k in
                                            range(20, 250)])
    try:
        friend.saciped(initiate=["0.0.0.0/0"])
        innocent = echo(friend, server, fam=n.fam)
        lab.protected(innocent, timeout=30)
        client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
        lab.settled(flow, client=n.ip(1, 9), timeout=20)
        flow.goes_on()
    finally:
        os.waitpid(pid, 0)
    c = server.daemon.counters()
    refused = c["hs_init_silent"] + c["hs_rate_limited"] + c["hs_retry_tx"] + \
        c["hs_half_open_full"]
    check(refused > FLOOD / 20, f"only {refused} INITs were counted: {c}")
    grown = resident_kb(server) - rss
    check(grown < GROWTH_KB, f"grew by {grown} KiB")
    flow.finish(), innocent.goes_on().finish()


def resident_kb(host):
    with open(f"/proc/{host.daemon.process.pid}/status") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("VmRSS"))


def flood(lab, mallory, server, init, sources):
    """A process that sends FLOOD first messages, and ends."""
    inject = packets.Injector(mallory, "eth0")
    mac, dst = server.mac("eth0"), server.address(4)
    pid = os.fork()
    if pid:
        return pid
    try:
        rng = random.Random(7)
        began = time.monotonic()
        for i in range(FLOOD):
            body = bytearray(init.payload)
            body[32:48] = bytes(16)  # mac1: he does not know the key
            body[48:80] = rng.randbytes(32)
            body[84:88] = rng.randbytes(4)
            inject.packet(mac, packets.ip(
                sources[i % len(sources)], dst, packets.UDP,
                packets.udp(CONTROL_PORT, CONTROL_PORT, bytes(body))))
            if i % 50 == 0:
                time.sleep(max(0, began + i / FLOOD_RATE - time.monotonic()))
    finally:
        os._exit(0)


@scenario()
def handshake_from_an_unprivileged_port(lab):
    """Any local user could be that host's daemon otherwise."""
    n = Net(4)
    client, server = lan(lab, n)
    cap = lab.capture(server, "eth0", f"udp port {CONTROL_PORT} and "
                                      "udp[8] = 1", snap=2000)
    lab.daemons(client, server)
    flow = echo(client, server)
    lab.protected(flow)
    init = packets.Parsed(cap.read()[0])
    answers = lab.capture(server, "eth0", "udp dst port 5555")
    s = client.socket(2, 2)
    s.bind((n.ip(1, 2), 5555))
    s.sendto(init.payload, (n.ip(1, 3), CONTROL_PORT))
    wait_until("it is counted", lambda: server.daemon.counter(
        "unprivileged_port") > 0, 5)
    answers.none("answers to an unprivileged port")
    flow.goes_on().finish()
