# SPDX-License-Identifier: GPL-2.0-or-later
"""ecmp: one default route over two uplinks, and source rules for both"""
from network import BOTH


def setup(p):
    p.add("spare")
    for n in BOTH:
        for table, where in (101, "home"), (108, "spare"):
            p.ip_do(f"-{n.fam} route add default via {p.gateway(n, where)} "
                    f"dev {p.dev(where)} table {table}",
                    f"-{n.fam} rule add pref {table} from {p.ip(n, where)} "
                    f"lookup {table}")
        p.ip_do(f"-{n.fam} route del default",
                f"-{n.fam} route add default "
                f"nexthop via {p.gateway(n)} dev {p.uplink} "
                f"nexthop via {p.gateway(n, 'spare')} dev {p.second}")
