# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of other programs on the same host, which mean no harm."""
from flows import copy, echo, udp
from scenario import lan, nodad, routed, scenario

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
	}
}
"""
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


@scenario(fam=(4, 6))
def connection_marks_saved(lab, n):
    """Our bit is saved with all others, and put on what is sent: it is not
    sent by our own tables, which know no gateway."""
    client, _, server = routed(lab, n)
    for h in client, server:
        h.run("nft", "-f", "-", input=SAVED)
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    client.route("default via", n.ip(1, 1))
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on().finish()
