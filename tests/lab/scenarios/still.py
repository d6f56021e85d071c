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
