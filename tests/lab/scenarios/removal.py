# SPDX-License-Identifier: GPL-2.0-or-later
"""The instant in which the address goes: nothing may notice, nothing leak."""
import re
import time

from flows import echo, stream, udp
from lab import check, wait_until
from scenario import lan, nodad, routed, scenario

GRACE_NS = 1000000  # what was on its way through the cable already
RTT_MAX_MS = 150  # a send that failed in the kernel comes back after 200


def sent_from(n, host):
    """What leaves with the old address; ND and ARP are others' matters."""
    return f"(tcp or udp) and not port 1021 and {n.proto} src {host}"


@scenario(fam=(4, 6), alone=True, control="dies")
def no_error_no_stall_at_removal(lab, n):
    """Added, then deleted: no error in a sender, no stall in a request."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    out = udp(client, server, "up", fam=n.fam)
    ask = echo(client, server, fam=n.fam)
    lab.protected(out, ask)
    wire = lab.capture(client, "eth0", sent_from(n, n.ip(1, 2)))
    resets = lab.capture(server, "eth0", "tcp[13] & 4 != 0" if n.fam == 4 else
                         "ip6[6] == 6 and ip6[53] & 4 != 0")
    ask.forget_gap()
    client.add("eth0", n.cidr(1, 9), nodad(n))
    _, gone = client.delete_now("eth0", n.cidr(1, 2))
    lab.settled(out, ask, client=n.ip(1, 9))
    for f in out, ask:
        f.goes_on()
    wire.some()
    if not lab.without_daemons:
        wire.none("untranslated after the removal", since=gone + GRACE_NS)
        resets.none("resets")
    a, o = ask.finish(), out.finish()
    check(o.client["send_errors"] == 0, f"{o.client['send_errors']} errors")
    check(a.rtt_ms < RTT_MAX_MS, f"a request took {a.rtt_ms:.1f} ms")
    check(out.lost(o) == 0, f"{out.lost(o)} datagrams lost by the host")


@scenario(fam=(4, 6), alone=True, control="dies")
def nothing_leaks_while_there_is_no_address(lab, n):
    """Gone for half a second under 1 ms senders: silence on the wire."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [udp(client, server, "up", fam=n.fam),
             stream(client, server, "up", fam=n.fam),
             echo(client, server, fam=n.fam)]
    lab.protected(*flows)
    wire = lab.capture(client, "eth0", sent_from(n, n.ip(1, 2)))
    for f in flows:
        f.goes_on()
    _, gone = client.delete_now("eth0", n.cidr(1, 2))
    time.sleep(0.5)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    wire.some()
    if not lab.without_daemons:
        wire.none("untranslated after the removal", since=gone + GRACE_NS)
    results = [f.finish() for f in flows]
    check(results[0].client["send_errors"] == 0, "the UDP sender saw errors")
    check(flows[0].lost(results[0]) == 0,
          f"{flows[0].lost(results[0])} datagrams lost by the host")


@scenario(fam=(4, 6), alone=True)
def without_a_daemon_it_leaks_or_fails(lab, n):
    """The positive control of the two above: the capture and the sender's
    error count do see what they look for."""
    client, server = lan(lab, n)
    out = udp(client, server, "up", fam=n.fam)
    ask = echo(client, server, fam=n.fam)
    out.goes_on()
    wire = lab.capture(client, "eth0", f"udp and {n.proto} src {n.ip(1, 2)}")
    client.add("eth0", n.cidr(1, 9), nodad(n))
    _, gone = client.delete_now("eth0", n.cidr(1, 2))
    time.sleep(0.3)
    leaked = len(wire.since(gone + GRACE_NS))
    errors = out.watches[0].errors
    check(leaked or errors, "neither a leak nor an error was seen")
    check(ask.silent_ms() > 200, "the request did not stall")


@scenario(fam=(4, 6))
def held_datagrams_survive_a_return(lab, n):
    """The address comes back before anything moved: what was held meanwhile
    goes out untranslated, in order, and by the real route."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    out = udp(client, server, "up", pace_us=5000, fam=n.fam)
    lab.protected(out)
    client.delete("eth0", n.cidr(1, 2))
    time.sleep(0.4)
    held = client.daemon.counter("pkt_held")
    client.add("eth0", n.cidr(1, 2), nodad(n))
    out.goes_on()
    check(client.daemon.counter("moves_started") == 0, "it moved")
    check(held > 0, "nothing was held")
    lost = out.lost(out.finish())
    check(lost == 0, f"{lost} of {held} held datagrams lost by the host")


@scenario(fam=(4, 6), timeout=90)
def a_sender_in_backoff_is_woken(lab, n):
    """Link and address gone, and the host that moves only receives: nothing
    that it sends tells the other end's TCP to try again. Its timer would let
    it wait for WAIT_S more."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = stream(client, server, "down", fam=n.fam)
    lab.protected(flow)
    flow.goes_on(100)
    woken_after_outage(lab, n, flow)


@scenario(fam=(4, 6), timeout=90)
def a_sender_is_woken_whose_ack_was_lost(lab, n):
    """As above, and the last thing that the path loses are acknowledgments:
    the mover expects more than the sender waits for."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = stream(client, server, "down", fam=n.fam)
    lab.protected(flow)
    flow.goes_on(100)
    # In one step: three more segments arrive, nobody hears of them.
    client.run("nft", "table inet mute { chain in { type filter hook "
               f"prerouting priority -350; tcp sport {flow.server_port} "
               "limit rate over 1/hour burst 3 packets drop; }; "
               "chain out { type filter hook output priority 300; "
               f"tcp dport {flow.server_port} drop; }}; }}")
    wait_until("the sender repeats itself",
               lambda: backs_off(server, flow), 10, 0.01)
    woken_after_outage(lab, n, flow, lambda:
                       client.run("nft", "delete table inet mute"))


def woken_after_outage(lab, n, flow, meanwhile=lambda: None):
    client, server = flow.client, flow.server
    client.link("eth0", "down")
    if n.fam == 4:
        client.delete("eth0", n.cidr(1, 2))  # IPv6 loses it with the link
    meanwhile()
    wait_until("the sender backs off for long",
               lambda: waits_s(server, flow) > WAIT_S, 20, 0.01)
    got, left = flow.receiver.rx_bytes, waits_s(server, flow)
    began = time.monotonic()
    client.add("eth0", n.cidr(1, 9), nodad(n))
    client.link("eth0", "up")
    wait_until("data comes again", lambda: flow.receiver.rx_bytes > got, 10,
               0.002)
    took = time.monotonic() - began
    check(took < left or lab.without_daemons,
          f"after {took:.2f} s, by its own timer ({left:.2f} s)")
    lab.settled(flow, client=n.ip(1, 9))
    check(server.daemon.counter("senders_woken") == 1, "nobody was woken")
    flow.goes_on()
    flow.finish()


WAIT_S = 2.2  # it has sent three or four times for nothing by then


def waits_s(host, flow):
    """How long the server's socket will wait until it sends again."""
    text = host.run("ss", "-Htino", "sport", "=",
                    f":{flow.server_port}").stdout_text
    found = {k: float(v) / 1000
             for k, v in re.findall(r"\b(rto|lastsnd):([0-9.]+)", text)}
    return found.get("rto", 0) - found.get("lastsnd", 0)


def backs_off(host, flow):
    return "backoff:" in host.run("ss", "-Htino", "sport", "=",
                                  f":{flow.server_port}").stdout_text


@scenario(fam=(4, 6))
def mover_stopped_in_a_handover(lab, n):
    """SIGSTOP at the mover: nothing leaks; SIGCONT: it goes on."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [udp(client, server, "up", fam=n.fam),
             stream(client, server, "up", fam=n.fam),
             stream(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    wire = lab.capture(client, "eth0", sent_from(n, n.ip(1, 2)))
    resets = lab.capture(server, "eth0", "tcp[13] & 4 != 0" if n.fam == 4 else
                         "ip6[6] == 6 and ip6[53] & 4 != 0")
    client.daemon.pause()
    client.add("eth0", n.cidr(1, 9), nodad(n))
    _, gone = client.delete_now("eth0", n.cidr(1, 2))
    time.sleep(1.5)
    wire.none("untranslated while stopped", since=gone + GRACE_NS)
    client.daemon.resume()
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    wire.none("untranslated", since=gone + GRACE_NS)
    resets.none("resets")
    for f in flows:
        f.finish()


@scenario(fam=(4, 6))
def peer_stopped_in_a_handover(lab, n):
    """SIGSTOP at the other end: the mover asks on; SIGCONT: it goes on."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [udp(client, server, fam=n.fam),
             stream(client, server, "up", fam=n.fam),
             stream(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    server.daemon.pause()
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    time.sleep(1.5)
    e = lab.entry(client, flows[0])
    check(e["state"] == "moving", f"{e['state']} while the peer is stopped")
    server.daemon.resume()
    lab.settled(*flows, client=n.ip(1, 9), timeout=15)
    for f in flows:
        f.goes_on()
    for f in flows:
        f.finish()


@scenario(fam=(4, 6))
def a_device_goes_while_packets_wait(lab, n):
    """The daemon rewrites datagrams, and the device that they leave by is
    deleted. With nowhere to go they are held; the device is not."""
    lab.conf["rewrite"] = "queue"
    client, router, server = routed(lab, n)
    lab.daemons(client, server)
    flows = [udp(client, server, "up", fam=n.fam, pace_us=50)
             for _ in range(3)]
    lab.protected(*flows)
    client.add("eth1", n.cidr(3, 9), nodad(n))
    client.ip(f"route replace default via {n.ip(3, 1)} dev eth1")
    lab.settled(*flows, client=n.ip(3, 9))
    for f in flows:
        f.goes_on()
    held = client.daemon.counter("pkt_held")
    client.spawn("ip", "link", "del", "eth1", name="deletion").wait(5)
    check(client.daemon.counter("pkt_held") > held, "nothing was held")
    client.route("default via", n.ip(1, 1), "dev eth0")
    for f in flows:  # over two ways: their order is the network's matter
        f.goes_on()
