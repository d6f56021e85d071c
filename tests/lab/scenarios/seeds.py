# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of the source documents, on today's kernel: the two cases of the
SACIP slides, and the seven rebinds of the KTH thesis."""
from flows import Pair, Telnet, echo, stream
from lab import check, wait_until
from scenario import lan, scenario

TELNET = ("telnet", "telnetd")


def case_1(lab, promote):
    client, server = lab.build("""
        client eth0 192.168.1.22/24  lan
        server eth0 192.168.1.101/24 lan
    """)
    client.sysctl("net.ipv4.conf.all.promote_secondaries", promote)
    lab.daemons(client, server)
    telnet = Telnet(client, server)
    lab.protected(telnet)
    for old, new in ((22, 2), (2, 22)):
        client.add("eth0", f"192.168.1.{new}/24")
        client.delete("eth0", f"192.168.1.{old}/24")
        if not promote:  # the kernel took the second one with the first
            out = client.run("ip", "-br", "address", "show", "eth0").stdout_text
            check("192.168.1." not in out, "the kernel kept an address")
            client.add("eth0", f"192.168.1.{new}/24")
        lab.settled(telnet, client=f"192.168.1.{new}")
        telnet.goes_on()
    telnet.finish()


@scenario(needs=TELNET, control="dies")
def source_000_case_1(lab):
    """
        client .22 then .2, then .22 ---- 192.168.1.0/24 ---- .101 telnetd
    """
    case_1(lab, 1)


@scenario(needs=TELNET, control="dies")
def source_000_case_1_without_promotion(lab):
    """
        The same; the kernel deletes the second address with the first one.
    """
    case_1(lab, 0)


@scenario(needs=TELNET, control="dies")
def source_000_case_2(lab):
    """
        client .2/25 then .222/25 --+-- 192.168.1.0 --+-- .101/24 telnetd
                                    |
                              router .4/24, the default of client
    """
    client, server, router = lab.build("""
        client eth0 192.168.1.2/25   lan via 192.168.1.4
        server eth0 192.168.1.101/24 lan
        router eth0 192.168.1.4/24   lan
    """)
    lab.daemons(client, server)
    telnet = Telnet(client, server)
    lab.protected(telnet)
    client.add("eth0", "192.168.1.222/25")
    client.delete("eth0", "192.168.1.2/25")
    lab.settled(telnet, client="192.168.1.222")
    telnet.goes_on().finish()


# --- rebinds: C and S are the addresses of the sockets, C2 and S2 those after
# a move; P and Q the ports. Ports on the wire change where they are taken.

def rebind(lab, n):
    """
        client C, C2 ---- lan ---- S, S2 server
    """
    client, server = lan(lab, n)
    lab.daemons(client, server)
    a = [n.ip(1, 2), n.ip(1, 12), n.ip(1, 3), n.ip(1, 13)]
    flow = echo(client, server, source=a[0], source_port=40000, fam=n.fam)
    other = stream(client, server, "down", fam=n.fam)
    lab.protected(flow, other)
    return client, server, flow, other, a


def client_moves(client, n):
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 12), "nodad"
                   if n.fam == 6 else "")


def server_moves(server, n):
    server.replace("eth0", n.cidr(1, 3), n.cidr(1, 13), "nodad"
                   if n.fam == 6 else "")


def ports_change(lab, flow, new_ports):
    """new_ports: for client and server, whether theirs must be another."""
    def changed():
        c, s = lab.wire(flow.client, flow), lab.wire(flow.server, flow)
        got = (c[0][1] != flow.port, c[1][1] != flow.server_port)
        check(c == s[::-1] and got == new_ports, f"on the wire: {c} {s}")
        return True
    wait_until(f"{flow} has ports {new_ports}", changed, 10)


@scenario(fam=(4, 6), control="dies")
def rebind_destination_address(lab, n):
    client, server, flow, other, a = rebind(lab, n)
    server_moves(server, n)
    lab.settled(flow, other, server=a[3])
    flow.goes_on().finish(), other.goes_on().finish()


@scenario(fam=(4, 6), control="dies")
def rebind_source_address(lab, n):
    client, server, flow, other, a = rebind(lab, n)
    client_moves(client, n)
    lab.settled(flow, other, client=a[1])
    flow.goes_on().finish(), other.goes_on().finish()


@scenario(fam=(4, 6), control="dies")
def rebind_source_and_destination_address(lab, n):
    client, server, flow, other, a = rebind(lab, n)
    server_moves(server, n)
    lab.settled(flow, other, server=a[3])
    client_moves(client, n)
    lab.settled(flow, other, client=a[1], server=a[3])
    flow.goes_on().finish(), other.goes_on().finish()


@scenario(fam=(4, 6))
def rebind_destination_port(lab, n):
    """S2:Q is taken by a connection of the server's before it moves there."""
    client, server, flow, other, a = rebind(lab, n)
    server.add("eth0", n.cidr(1, 13), "nodad" if n.fam == 6 else "")
    taken = Pair(server, a[3], flow.server_port, client, a[0], flow.port)
    server.delete("eth0", n.cidr(1, 3))
    lab.settled(flow, other, server=a[3])
    ports_change(lab, flow, (False, True))
    taken.goes_on()
    flow.goes_on().finish(), other.goes_on().finish()
    taken.goes_on()


@scenario(fam=(4, 6))
def rebind_source_port(lab, n):
    """The client has moved; then a new connection takes its wire tuple."""
    client, server, flow, other, a = rebind(lab, n)
    client_moves(client, n)
    lab.settled(flow, other, client=a[1])
    ports_change(lab, flow, (False, False))
    taken = Pair(client, a[1], flow.port, server, a[2], flow.server_port,
                 served=True)
    taken.goes_on()
    ports_change(lab, flow, (True, False))
    lab.settled(flow, client=a[1])
    for x in taken, flow, other:
        x.goes_on()
    flow.finish(), other.finish()


@scenario(fam=(4, 6))
def rebind_source_and_destination_port(lab, n):
    """Both have moved; then each end's port on the wire is taken."""
    client, server, flow, other, a = rebind(lab, n)
    server_moves(server, n)
    lab.settled(flow, other, server=a[3])
    client_moves(client, n)
    lab.settled(flow, other, client=a[1], server=a[3])
    first = Pair(client, a[1], flow.port, server, a[3], flow.server_port)
    ports_change(lab, flow, (True, False))
    wire = lab.wire(client, flow)[0][1]
    second = Pair(server, a[3], flow.server_port, client, a[1], wire)
    ports_change(lab, flow, (True, True))
    for x in first, second, flow, other:
        x.goes_on()
    flow.finish(), other.finish()


@scenario(fam=(4, 6))
def rebind_all(lab, n):
    """Each end's wire tuple is taken before that end moves."""
    client, server, flow, other, a = rebind(lab, n)
    nodad = "nodad" if n.fam == 6 else ""
    client.add("eth0", n.cidr(1, 12), nodad)
    first = Pair(client, a[1], flow.port, server, a[2], flow.server_port,
                 served=True)
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(flow, other, client=a[1])
    ports_change(lab, flow, (True, False))
    lab.protected(first)  # it moves with the server, too
    wire = lab.wire(client, flow)[0][1]
    server.add("eth0", n.cidr(1, 13), nodad)
    second = Pair(client, a[1], wire, server, a[3], flow.server_port)
    server.delete("eth0", n.cidr(1, 3))
    lab.settled(flow, other, client=a[1], server=a[3])
    ports_change(lab, flow, (True, True))
    for x in first, second, flow, other:
        x.goes_on()
    flow.finish(), other.finish()
