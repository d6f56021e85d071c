# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses that somebody else translates: refused by name, never harmed."""
from flows import echo
from lab import check, wait_until
from scenario import lan, routed, scenario

MASQUERADE = """
table ip nat {
	chain post {
		type nat hook postrouting priority srcnat
		oifname "%s" masquerade
	}
}
"""


def listed(host, proto, port):
    return [e for e in host.daemon.list()
            if e["proto"] == proto and e["identity"]["remote"]["port"] == port]


@scenario(fam=(4,))
def nat_on_the_path_is_refused(lab, n):
    """
        client .1.2 ---- router, masquerades ---- .2.3 server
    The flow is not owned, says `nat`, and goes on untouched.
    """
    client, router, server = routed(lab, n)
    router.run("nft", "-f", "-", input=MASQUERADE % "eth1")
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam)

    def refused():
        mine = listed(client, "tcp", flow.server_port)
        return mine and mine[0]["reason"] == "nat"
    wait_until("the client says nat", refused, 15)
    entry = listed(client, "tcp", flow.server_port)[0]
    check(entry["state"] == "tracked" and entry["peer"] is None,
          f"owned all the same: {entry}")
    check(client.daemon.counters()["pkt_queued"] == 0,
          "packets were queued")
    flow.goes_on(100)
    flow.finish()


@scenario(fam=(4,))
def a_nat_chain_that_does_not_match_is_harmless(lab, n):
    """
        client .1.2, masquerades on another interface ---- lan ---- .1.3 server
    """
    client, server = lan(lab, n)
    client.run("nft", "-f", "-", input=MASQUERADE % "elsewhere")
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam)
    lab.protected(flow)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
    lab.settled(flow, client=n.ip(1, 9))
    flow.goes_on(100)
    flow.finish()


@scenario(fam=(4,))
def masquerade_on_the_mover_itself(lab, n):
    """
        client .1.2, masquerades what leaves ---- lan ---- .1.3 server
    Its addresses look unchanged, but conntrack would translate the moved
    packets once more: refused, or alive. Never dead without a word.
    """
    client, server = lan(lab, n)
    client.run("nft", "-f", "-", input=MASQUERADE % "eth0")
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam)

    def decided():
        mine = listed(client, "tcp", flow.server_port)
        return mine and (mine[0]["reason"] == "nat"
                         or mine[0]["state"] == "protected")
    wait_until("refused or protected", decided, 15)
    if listed(client, "tcp", flow.server_port)[0]["state"] == "protected":
        client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
        lab.settled(flow, client=n.ip(1, 9))
    flow.goes_on(100)
    flow.finish()
