# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that let nothing into their address but by the device that has it: no
packet by lo that bears the peer's. wg-quick does so for a full tunnel."""
from flows import copy, echo
from lab import check
from outages import backoff, move_after_a_loss, slow_timer
from scenario import lan, nodad, scenario

WALL = """
table PF wall {
	chain preraw {
		type filter hook prerouting priority raw;
		iifname != "eth0" PF daddr { MINE } fib saddr type != local drop
	}
}
table inet fw {
	chain in {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		udp dport 1021 accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		tcp flags syn / fin,syn,rst,ack ct state new accept
	}
}
"""


def wall(host, n, *mine):
    host.run("nft", "-f", "-", input=WALL.replace("PF", n.proto).replace(
        "MINE", ", ".join(mine)))


def walled(lab, n):
    """Both have a wall and a firewall that knows connections."""
    client, server = lan(lab, n)
    wall(client, n, *(n.ip(1, host) for host in (2, 9, 10)))
    wall(server, n, n.ip(1, 3))
    lab.daemons(client, server)
    return client, server


def unveils(host):
    return "chain unveil" in host.run("nft", "list", "table", "inet",
                                      "sacip").stdout_text


@scenario(fam=(4, 6), control="dies")
def idle_connections_are_proved_behind_a_wall(lab, n):
    """Nothing but its own answer tells a socket's numbers."""
    client, server = walled(lab, n)
    flows = [echo(client, server, busy=0, idle=3, fam=n.fam),
             echo(server, client, busy=0, idle=1, fam=n.fam)]
    lab.protected(*flows)
    for old, new in (2, 9), (9, 10):
        client.add("eth0", n.cidr(1, new), nodad(n))
        client.delete("eth0", n.cidr(1, old))
        lab.settled(flows[0], client=n.ip(1, new))
        lab.settled(flows[1], server=n.ip(1, new))
        for f in flows:
            f.echo_all()
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), control="lives")
def a_wall_alone_hurts_no_connection(lab, n):
    client, server = walled(lab, n)
    flow = echo(client, server, busy=0, idle=1, fam=n.fam)
    lab.protected(flow)
    flow.echo_all()
    flow.finish()


@scenario(fam=(4, 6), control="dies")
def nothing_is_veiled_without_a_wall(lab, n):
    """The hook for it is not there either, also where sockets are silent
    because they have just answered."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = echo(client, server, busy=0, idle=3, fam=n.fam)
    lab.protected(flow)
    flow.echo_all()
    for old, new in (2, 9), (9, 10), (10, 11), (11, 2):
        client.add("eth0", n.cidr(1, new), nodad(n))
        client.delete("eth0", n.cidr(1, old))
        lab.settled(flow, client=n.ip(1, new) if new != 2 else None)
        if not lab.without_daemons:
            for h in client, server:
                check(not unveils(h), f"{h.name} veils at {new}")
    flow.echo_all()
    flow.finish()


@scenario(fam=(4, 6), timeout=90, control="dies")
def senders_are_woken_behind_a_wall(lab, n):
    """In backoff by an error, before that by an acknowledgment."""
    client, server = walled(lab, n)
    flow = copy(client, server, "down", fam=n.fam)
    lab.protected(flow)
    flow.goes_on(3000)
    move_after_a_loss(client, server, n, 2, 9, flow, lambda: True,
                      lambda: backoff(server, flow.server_port))
    flow.goes_on()
    slow_timer(n, server)
    slow = copy(client, server, "down", fam=n.fam, listen=n.ip(1, 3))
    lab.protected(slow)
    slow.goes_on(3000)
    move_after_a_loss(client, server, n, 9, 10, slow, lambda: True,
                      lambda: not backoff(server, slow.server_port))
    flow.goes_on()
    for f in flow, slow:
        f.finish()
