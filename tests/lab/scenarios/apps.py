# SPDX-License-Identifier: GPL-2.0-or-later
"""What people run: a remote shell, a big copy, many connections, datagrams."""
from flows import Datagrams, HalfClosed, Ssh, bulk, copy, echo, stream, udp
from lab import Died, check, wait_until
from scenario import Net, lan, nodad, routed, scenario

GB = 1000 * 1000 * 1000


@scenario(fam=(4, 6), needs=("ssh", "sshd", "ssh-keygen"), control="dies")
def openssh_command_and_forwarded_port(lab, n):
    """
        client .1.2, .1.9, then eth1 .3.9 ---- router ---- .2.3 sshd
    """
    client, router, server = routed(lab, n)
    lab.daemons(client, server)
    ssh = Ssh(client, server, fam=n.fam)
    lab.protected(ssh)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(ssh, client=n.ip(1, 9))
    ssh.goes_on()
    client.add("eth1", n.cidr(3, 9), nodad(n))
    client.link("eth1", "up")
    client.route("default via", n.ip(3, 1), "dev eth1")
    client.link("eth0", "down")
    lab.settled(ssh, client=n.ip(3, 9))
    ssh.goes_on().finish()


def two_gigabytes(lab, n, kind):
    client, server = lan(lab, n)
    lab.daemons(client, server)
    big = bulk(client, server, kind=kind, fam=n.fam)
    lab.protected(big)
    old = 2
    for part, new in (1, 9), (2, 2), (3, 10):
        big.reaches(part * GB // 2)
        client.add("eth0", n.cidr(1, new), nodad(n))
        client.delete("eth0", n.cidr(1, old))
        lab.settled(big, client=n.ip(1, new))
        old = new
    big.reaches(2 * GB)
    r = big.finish()
    check(r.bytes >= 2 * GB, f"only {r.bytes} bytes")


@scenario(fam=(4, 6), alone=True, timeout=120, control="dies")
def two_gigabytes_sent_by_the_mover(lab, n):
    """Moves after each half gigabyte, one of them back."""
    two_gigabytes(lab, n, "up")


@scenario(fam=(4, 6), alone=True, timeout=120, control="dies")
def two_gigabytes_received_by_the_mover(lab, n):
    two_gigabytes(lab, n, "down")


@scenario(fam=(4, 6), timeout=90, control="dies")
def idle_500_and_busy_50(lab, n):
    """550 connections move with one message; the idle ones answer after."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    many = echo(client, server, busy=50, idle=500, pace_us=20000, fam=n.fam)
    lab.protected(many, timeout=30)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(many, client=n.ip(1, 9))
    many.goes_on(500)
    many.echo_all()
    if not lab.without_daemons:
        started = client.daemon.counter("moves_started")
        check(started == 1, f"one track moves once, not {started} times")
    many.finish()


@scenario(fam=(4, 6), control="dies")
def udp_exchange(lab, n):
    """Requests are repeated until answered; every one is answered once."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    ask = udp(client, server, fam=n.fam)
    lab.protected(ask)
    for old, new in (2, 9), (9, 10):
        client.add("eth0", n.cidr(1, new), nodad(n))
        client.delete("eth0", n.cidr(1, old))
        lab.settled(ask, client=n.ip(1, new))
        ask.goes_on()
    server.replace("eth0", n.cidr(1, 3), n.cidr(1, 13), nodad(n))
    lab.settled(ask, client=n.ip(1, 10), server=n.ip(1, 13))
    ask.goes_on().finish()


@scenario(fam=(4, 6), control="dies")
def opened_before_the_daemon(lab, n):
    """Connections that are older than both daemons, one of them idle."""
    client, server = lan(lab, n)
    f = {"fam": n.fam}
    flows = [echo(client, server, **f), echo(client, server, busy=0, idle=1,
                                             **f),
             stream(client, server, "down", **f), udp(client, server, **f)]
    flows[0].goes_on()
    lab.daemons(client, server)
    lab.protected(*flows)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(*flows, client=n.ip(1, 9))
    flows[1].echo_all()
    for x in flows:
        if x is not flows[1]:
            x.goes_on()
        x.finish()


@scenario(control="lives")
def found_and_protected_in_time(lab):
    """A new connection is protected within 3 s of connect()."""
    client, server = lan(lab, Net(4))
    lab.daemons(client, server)
    for proto in "tcp", "udp":
        flow = echo(client, server) if proto == "tcp" else udp(client, server)
        lab.protected(flow, timeout=3)
        flow.goes_on()
        flow.finish()
        # a client that closes first keeps TIME_WAIT for a minute
        for h in (server,) if proto == "tcp" else (client, server):
            if h.daemon.process:
                wait_until(f"{flow} is forgotten at {h.name}", lambda h=h:
                           all(e["identity"]["remote"]["port"] not in
                               (flow.port, flow.server_port) or
                               e["state"] != "protected"
                               for e in h.daemon.list()), 10)


@scenario(fam=(4, 6), control="dies")
def half_closed_before_it_is_seen(lab, n):
    """FIN_WAIT2 at one end, CLOSE_WAIT at the other, and data goes on in the
    direction that is open: protected and moved like any other.

        client .1.2, then .1.9 ---- lan ---- .1.3, then .1.13 server
    """
    client, server = lan(lab, n)
    flows = [HalfClosed(client, server, closer, n.fam)
             for closer in ("near", "far")]
    lab.daemons(client, server)
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    server.replace("eth0", n.cidr(1, 3), n.cidr(1, 13), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9), server=n.ip(1, 13))
    for f in flows:
        f.goes_on().finish()


@scenario(control="dies")
def v4_mapped_sockets(lab):
    """Servers that listen on :: and see IPv4 clients."""
    n = Net(4)
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [echo(client, server, listen="::"),
             udp(client, server, listen="::")]
    lab.protected(*flows)
    server.add("eth0", n.cidr(1, 13))
    server.delete("eth0", n.cidr(1, 3))
    lab.settled(*flows, server=n.ip(1, 13))
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
    lab.settled(*flows, client=n.ip(1, 9), server=n.ip(1, 13))
    for x in flows:
        x.goes_on().finish()


@scenario(fam=(4, 6), needs=("ethtool",), control="dies")
def without_offloads(lab, n):
    """Complete checksums and single segments on the wire, both ways."""
    client, server = lan(lab, n)
    for h in client, server:
        h.run("ethtool", "-K", "eth0", "tx", "off", "rx", "off", "gso", "off",
              "gro", "off", "tso", "off", "sg", "off")
    lab.daemons(client, server)
    flows = [copy(client, server, "up", fam=n.fam),
             copy(client, server, "down", fam=n.fam),
             udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    for x in flows[:2]:
        x.reaches(x.receiver.rx_bytes + (10 << 20))
    for x in flows:
        x.goes_on().finish()


@scenario(fam=(4, 6), control="dies")
def large_datagrams_in_fragments(lab, n):
    """Only the first fragment has ports: all of them are translated."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    talk = Datagrams(client, n.ip(1, 2), server, n.ip(1, 3))
    if not lab.without_daemons:
        wait_until("it is protected", lambda: talk.exchange(64) and all(
            lab.entry(h, talk)["state"] == "protected"
            for h in (client, server)), 20)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(talk, client=n.ip(1, 9))
    for size in 64, 1400, 1473, 4000, 16000, 60000:
        check(talk.exchange(size), f"{size} bytes did not come back", Died)
