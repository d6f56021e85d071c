# SPDX-License-Identifier: GPL-2.0-or-later
"""source_rules: two uplinks, each with a table for what comes from its own
subnets; the connections use the one that is not the default, and it is there
that things happen"""
from network import BOTH

TABLES = {"home": 101, "other": 101, "spare": 108}
METRICS = {"home": 200, "other": 200, "spare": 100}


def setup(p):
    p.no_default()
    p.add("spare")
    for n in BOTH:
        p.ip_do(*(f"-{n.fam} rule add pref {table} from "
                  f"{n.cidr(p.subnets[where], 0)} lookup {table}"
                  for where, table in TABLES.items()))
        p.serves(n, p.ip(n))
    for where in "home", "spare":
        p.default(where)


def default(p, where="home", _="metric", metric=None):
    """In the uplink's own table, and in main."""
    metric = metric or METRICS[where]
    p.ip_do(*(f"-{n.fam} route replace {p.way(n, where)} {more}" for n in BOTH
              for more in (f"table {TABLES[where]}", f"metric {metric}")))


def no_default(p, where="home"):
    for n in BOTH:
        p.run("ip", "-force", f"-{n.fam}", "-batch", "-", check=False,
              input="".join(f"route del {p.way(n, where)} {more}\n"
                            for more in (f"table {TABLES[where]}", "")))
