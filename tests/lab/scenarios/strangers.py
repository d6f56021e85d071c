# SPDX-License-Identifier: GPL-2.0-or-later
"""Others on the link: who takes the old address, and who wants the ports."""
import socket
import time

import packets
from flows import Pair, echo, stream, udp
from lab import check, wait_until
from scenario import lan, nodad, scenario

ANSWERS_S = 0.5  # for an answer that must not come


def with_stranger(lab, n):
    """
        client .1.2, then .1.9 --+-- lan --+-- .1.3 server
                                 |
                     stranger .1.4, later .1.2 too
    """
    return lan(lab, n, f"stranger eth0 {n.cidr(1, 4)} lan")


def who_has(lab, n, asker, target):
    """The link addresses of all who answer for `target`."""
    mac = asker.mac("eth0")
    if n.fam == 4:
        cap = lab.capture(asker, "eth0", f"arp[6:2] = 2 and arp src {target}")
        ask = packets.arp_request(mac, asker.address(4), target)
    else:
        cap = lab.capture(asker, "eth0", "icmp6 and ip6[40] = 136")
        ask = packets.solicitation(mac, asker.address(6), target)
    packets.Injector(asker, "eth0").frame(ask)

    def answered():
        return [f for f in cap.read() if packets.raw(target) in f]
    wait_until(f"somebody answers for {target}", answered, 3)
    time.sleep(ANSWERS_S)
    return {f[6:12] for f in answered()}


@scenario(fam=(4, 6), timeout=90)
def stranger_takes_the_old_address(lab, n):
    """He alone answers for it, and even the mover can talk to him."""
    client, server, stranger = with_stranger(lab, n)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam),
             stream(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    # else the kernel keeps the last owner's link address for up to 8 s
    server.sysctl("net.ipv4.neigh.eth0.locktime", 0)
    stranger.add("eth0", n.cidr(1, 2), nodad(n))
    answer = who_has(lab, n, server, n.ip(1, 2))
    check(answer == {stranger.mac("eth0")},
          f"{[m.hex(':') for m in answer]} answer for the old address")
    visit = Pair(client, n.ip(1, 9), 0, stranger, n.ip(1, 2), 8000).goes_on()
    back = Pair(stranger, n.ip(1, 2), 0, server, n.ip(1, 3), 8000).goes_on()
    there = Pair(stranger, n.ip(1, 2), 0, client, n.ip(1, 9), 8000).goes_on()
    for f in flows:
        f.goes_on()
    for x in visit, back, there:
        x.goes_on().close()
    for f in flows:
        f.finish()


def last_from(cap, port):
    """The newest segment of a captured flow that came from `port`."""
    found = [p for p in map(packets.Parsed, cap.read()) if p.sport == port]
    check(found, f"no segment from {port} in the capture")
    return found[-1]


@scenario(fam=(4, 6))
def stranger_resets_the_moved_flow(lab, n):
    """He has the old address and the exact sequence number."""
    client, server, stranger = with_stranger(lab, n)
    lab.daemons(client, server)
    quiet = echo(client, server, busy=0, idle=1, fam=n.fam, source_port=40000)
    lab.protected(quiet)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(quiet, client=n.ip(1, 9))
    cap = lab.capture(server, "eth0", f"tcp port {quiet.server_port}")
    stranger.add("eth0", n.cidr(1, 2), nodad(n))
    quiet.echo_all()
    time.sleep(2.5)  # past the drain of the old address
    quiet.echo_all()
    c = last_from(cap, 40000)
    inject = packets.Injector(stranger, "eth0")
    before = server.daemon.counter("pkt_untranslated") + sum(
        o["counter"]["packets"] for o in server.table() if "counter" in o)
    for flags in packets.RST, packets.RST | packets.ACK:
        for seq in c.end, c.end + 1, c.seq:
            inject.packet(server.mac("eth0"), packets.ip(
                n.ip(1, 2), n.ip(1, 3), packets.TCP,
                packets.tcp(40000, quiet.server_port, seq, c.ack, flags)))
    quiet.echo_all()

    def counted():
        return before < server.daemon.counter("pkt_untranslated") + sum(
            o["counter"]["packets"] for o in server.table() if "counter" in o)
    wait_until("the untranslated packets are counted", counted, 5)
    check(lab.entry(server, quiet)["state"] == "moved", "no longer moved")
    quiet.finish()


@scenario(fam=(4, 6))
def the_same_reset_kills_without_a_daemon(lab, n):
    """The positive control of the one above: such a RST does end a flow."""
    client, server, stranger = with_stranger(lab, n)
    quiet = echo(client, server, busy=0, idle=1, fam=n.fam, source_port=40000)
    cap = lab.capture(server, "eth0", f"tcp port {quiet.server_port}")
    quiet.echo_all()
    wait_until("it acknowledged", lambda: last_from(cap, 40000), 3)
    c = last_from(cap, 40000)
    packets.Injector(stranger, "eth0").packet(server.mac("eth0"), packets.ip(
        n.ip(1, 2), n.ip(1, 3), packets.TCP,
        packets.tcp(40000, quiet.server_port, c.end, c.ack, packets.RST)))
    wait_until("the server's socket is gone", lambda: server.run(
        "ss", "-Htn", "state", "established").stdout_text == "", 3)


@scenario(fam=(4, 6))
def stranger_connects_from_the_same_port(lab, n):
    """His new connection bears the identity of a moved flow: it may wait or
    fail, but it never reaches the flow's socket."""
    client, server, stranger = with_stranger(lab, n)
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam, source_port=40000)
    lab.protected(flow)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(flow, client=n.ip(1, 9))
    stranger.add("eth0", n.cidr(1, 2), nodad(n))
    s = stranger.socket(10 if n.fam == 6 else 2, 1)
    s.bind((n.ip(1, 2), 40000))
    s.settimeout(2)
    try:
        s.connect((n.ip(1, 3), flow.server_port))
    except OSError:
        pass
    s.close()
    flow.goes_on().finish()


@scenario(fam=(4, 6))
def wire_tuple_taken_before_the_move(lab, n):
    """A connection from the new address with the same ports is there."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam, source=n.ip(1, 2),
                  source_port=40000),
             udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    taken = Pair(client, n.ip(1, 9), 40000, server, n.ip(1, 3),
                 flows[0].server_port, served=True).goes_on()
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(*flows, client=n.ip(1, 9))
    port = lab.wire(client, flows[0])[0][1]
    check(port != 40000, "two connections share a wire tuple")
    for x in taken, *flows, taken:
        x.goes_on()
    taken.close()
    for f in flows:
        f.finish()


@scenario(fam=(4, 6))
def wire_tuple_taken_after_the_move(lab, n):
    """A new connection wants the ports that a moved flow has on the wire."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam, source_port=40000)
    lab.protected(flow)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(flow, client=n.ip(1, 9))
    new = Pair(client, n.ip(1, 9), 40000, server, n.ip(1, 3),
               flow.server_port, served=True).goes_on()
    flow.goes_on()
    check(lab.wire(client, flow)[0][1] != 40000, "it kept the port")
    new.goes_on().close()
    flow.goes_on().finish()


@scenario(fam=(4, 6))
def an_unconnected_socket_on_the_wire_tuple(lab, n):
    """It is bound where a moved flow's packets come from by now. What it sends
    is not the flow's."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = udp(client, server, fam=n.fam)
    lab.protected(flow)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(flow, client=n.ip(1, 9))
    other = client.socket(socket.AF_INET6 if n.fam == 6 else socket.AF_INET,
                          socket.SOCK_DGRAM)
    other.bind((n.ip(1, 9), flow.port))
    at = "udp[8:4]" if n.fam == 4 else "ip6[48:4]"
    there = lab.capture(server, "eth0",
                        f"src host {n.ip(1, 9)} and {at} = 0x484f5354 and "
                        f"{'udp[0:2]' if n.fam == 4 else 'ip6[40:2]'} = "
                        f"{flow.port}")
    for _ in range(3):
        other.sendto(b"HOSTILE.", (n.ip(1, 3), flow.server_port))
        flow.goes_on()
    check(lab.without_daemons or not there.read(),
          "its datagram went as the flow's")
    flow.finish()


@scenario(fam=(4, 6))
def wire_tuple_wanted_while_it_is_offered(lab, n):
    """A new connection wants the ports that a move has asked for, and nobody
    has proved: both ends leave them to it, and keep their resets back."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam, source=n.ip(1, 2),
                source_port=40000)
    lab.protected(flow)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    client.run("nft", "-f", "-", input="""
        table inet deaf {
            chain in {
                type filter hook input priority 0;
                udp sport 1021 drop;
            }
        }""")
    client.daemon.ctl("move", "--to", n.ip(1, 9))
    wait_until("the server offers",
               lambda: server.daemon.counter("moves_accepted"))
    new = Pair(client, n.ip(1, 9), 40000, server, n.ip(1, 3),
               flow.server_port, served=True).goes_on()
    check(server.daemon.counter("pkt_stranger_syn") == 0, "its SYN was dropped")
    flow.goes_on()
    new.goes_on()
    client.run("nft", "delete", "table", "inet", "deaf")
    lab.settled(flow, client=n.ip(1, 9))
    for x in flow, new, flow:
        x.goes_on()
    new.close()
    flow.goes_on().finish()


@scenario(fam=(4, 6))
def many_new_connections_after_the_move(lab, n):
    """Ports that the kernel chooses never meet the moved ones."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    client.sysctl("net.ipv4.ip_local_port_range", "40000 40029")
    moved = echo(client, server, fam=n.fam, busy=12)
    lab.protected(moved)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(moved, client=n.ip(1, 9))
    new = [Pair(client, n.ip(1, 9), 0, server, n.ip(1, 3), moved.server_port,
                served=True) for _ in range(12)]
    for x in new:
        x.goes_on()
    moved.goes_on(200)
    for x in new:
        x.goes_on().close()
    moved.finish()
