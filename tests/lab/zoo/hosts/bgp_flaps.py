# SPDX-License-Identifier: GPL-2.0-or-later
"""bgp_flaps: a routing daemon. The default route that connections use is
withdrawn, announced and replaced by turns, every 50 to 500 ms, while one of
the same gateway with a worse metric stays; another of many routes changes
every 50 ms"""
import itertools
import random
import subprocess

from network import BOTH

MANY = 20
METRIC, WORSE = 100, 50  # of the default route, and by so much of the other
TURN_S = 0.05


def setup(p):
    p.ways = {}  # device: where its default leads, and the metric
    p.no_default()
    p.default()
    p.ip_do(*(f"-{n.fam} route replace {route(p, n, i)}"
              for n in BOTH for i in range(MANY)))
    p.meanwhile(flap(p))


def route(p, n, i):
    return (f"{n.ip(150 + i, 0)}/{24 if n.fam == 4 else 64} "
            f"via {p.gateway(n)} proto bird")


def default(p, where="home", _="metric", metric=METRIC):
    with p.lock:
        p.ways[p.dev(where)] = where, int(metric)
        p.ip_do(*(f"-{n.fam} route replace {p.way(n, where)} {more}"
                  for n in BOTH for more in (
                      f"proto bird metric {metric}",
                      f"metric {int(metric) + WORSE}")))


def no_default(p, where="home"):
    with p.lock:
        p.ways.pop(p.dev(where), None)
        for n in BOTH:
            p.run("ip", "-force", f"-{n.fam}", "-batch", "-", check=False,
                  input=2 * f"route del {p.way(n, where)}\n")


def flap(p):
    """The same in each run of a cell. The many go to one process of ip(8):
    to start one takes longer than a turn on a busy machine."""
    many = p.host.spawn("ip", "-force", "-batch", "-", name="many",
                        stdin=subprocess.PIPE).popen.stdin
    chance = random.Random(p.number)
    verbs, at = itertools.cycle(("del", "replace", "replace")), 0
    for turn in itertools.count():
        yield TURN_S
        verb = "replace" if turn // MANY % 2 else "del"
        for n in BOTH:
            many.write(f"route {verb} {route(p, n, turn % MANY)}\n".encode())
        many.flush()
        if turn >= at:
            announce_or_withdraw(p, next(verbs))
            at = turn + chance.randint(1, 10)


def announce_or_withdraw(p, verb):
    with p.lock:
        for n in BOTH:
            p.run("ip", "-force", f"-{n.fam}", "-batch", "-", check=False,
                  input="".join(f"route {verb} {p.way(n, where)} proto bird "
                                f"metric {metric}\n"
                                for where, metric in p.ways.values()) + "\n")
