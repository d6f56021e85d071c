# SPDX-License-Identifier: GPL-2.0-or-later
"""bgp_flaps: two default routes whose better one comes and goes; one of
many routes changes every 50 ms"""
import threading

from network import BOTH


def setup(p):
    p.default("home", "metric", "2000")
    p.ip_do(*(f"-{n.fam} route replace {n.ip(150 + i, 0)}/"
              f"{24 if n.fam == 4 else 64} via {p.gateway(n)} proto bgp"
              for n in BOTH for i in range(20)))
    threading.Thread(target=flap, args=(p,), daemon=True).start()


def flap(p):
    turn = 0
    while not p.ended.wait(0.05):
        turn += 1
        for n in BOTH:
            where = f"{n.ip(150 + turn % 20, 0)}/{24 if n.fam == 4 else 64}"
            p.run("ip", f"-{n.fam}", "route",
                  "replace" if turn // 20 % 2 else "del", where, "via",
                  p.gateway(n), "proto", "bgp", check=False)
