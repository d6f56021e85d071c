# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab itself: nothing moves, and every application ends well."""
from flows import Ssh, Telnet, bulk, echo, stream, udp
from scenario import routed, scenario


@scenario(fam=(4, 6), needs=("ssh", "sshd", "telnet", "telnetd"),
          control="lives")
def nothing_moves(lab, n):
    """Daemons run, nothing moves: as without them."""
    client, _, server = routed(lab, n)
    lab.daemons(client, server)
    f = {"fam": n.fam}
    flows = [Ssh(client, server, **f), Telnet(client, server, **f),
             echo(client, server, busy=5, idle=20, **f),
             udp(client, server, **f), udp(client, server, "up", **f),
             udp(client, server, "down", **f),
             stream(client, server, "down", **f),
             bulk(client, server, 20 << 20, **f)]
    for x in flows:
        x.goes_on().finish()


@scenario(fam=(4, 6), control="lives")
def idle_behind_firewalls_that_drop_what_is_invalid(lab, n):
    """An idle connection is proved by a segment that its own socket is made to
    send; what makes it is a forgery to the connection tracker of either end.

        client .1.2 (firewall) ---- router ---- (firewall) .2.3 server
    """
    client, _, server = routed(lab, n)
    for host in client, server:
        host.run("nft", "-f", "-", input="""
            table inet fw {
                chain in {
                    type filter hook input priority filter; policy drop;
                    ct state invalid drop
                    ct state { established, related } accept
                    iif lo accept
                    meta l4proto { icmp, ipv6-icmp } accept
                    tcp dport 7000-7999 ct state new accept
                    udp dport 1021 accept
                }
                chain out {
                    type filter hook output priority filter; policy drop;
                    ct state invalid drop
                    ct state { established, related, new } accept
                    meta l4proto ipv6-icmp accept
                }
            }""")
    lab.daemons(client, server)
    flows = [echo(client, server, busy=0, idle=1, fam=n.fam),
             echo(server, client, busy=0, idle=1, fam=n.fam)]
    lab.protected(*flows)
    for f in flows:
        f.finish()
