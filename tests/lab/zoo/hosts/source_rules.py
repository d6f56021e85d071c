# SPDX-License-Identifier: GPL-2.0-or-later
"""source_rules: two uplinks, each with a table for its own address; the
connections use the one that is not the default"""
from network import BOTH


def setup(p):
    p.add("spare")
    for n in BOTH:
        for table, where in (101, "home"), (108, "spare"):
            p.ip_do(f"-{n.fam} route add default via {p.gateway(n, where)} "
                    f"dev {p.dev(where)} table {table}",
                    f"-{n.fam} rule add pref {table} from {p.ip(n, where)} "
                    f"lookup {table}")
        p.serves(n, p.ip(n, "spare"))
