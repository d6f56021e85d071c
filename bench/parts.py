# SPDX-License-Identifier: GPL-2.0-or-later
"""parts: what is measured.

Each part is a function of a case that is up, and returns plain numbers, one
round of them. Never compares cases and never judges.
"""
import contextlib
import json
import os
import re
import time

from cases import READY_S
from flows import echo, stream
from lab import Died, check, wait_until
from link import Client

START_S = 0.7  # until a bulk transfer has its pace
WATCH_S = 0.3  # after a move
CONNECTION_MOVES = 5  # of each kind; MPTCP on Linux bears no more than 8
STALL_S = 40  # without a byte after a move: the connection is dead
MANY_STEPS = 4  # programs with as many connections each
ELEMENTS = 100, 1000, 10000, 100000
GROWTH = 100, 1000, 10000, 30000, 100000
GROWTH_PEERS = 100, 1000, 10000


@contextlib.contextmanager
def client(case, kind):
    c = Client(case.link, kind, case.target, case.via)
    try:
        yield c
    finally:
        c.end()


def traffic(case, make, **kw):
    return make(case.link.mover, case.link.peer, to=case.target, via=case.via,
                **kw)


def throughput(case, args):
    """One bulk connection: Gbit/s and CPU seconds per gigabyte."""
    with client(case, "pour") as c:
        case.ready(c)
        c.tell("go")
        time.sleep(START_S)
        return case.link.rate(c, args.seconds)


@contextlib.contextmanager
def awake(link):
    """No CPU halts: what a virtual one takes to wake, 5 to 50 us, differs
    from one moment to the next and would hide all else."""
    program = link.lab.program("probe")
    spinning = [link.mover.spawn(program, "spin", n, name="spin")
                for n in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for p in spinning:
            p.end()


def latency(case, args):
    """64 bytes there and back, one at a time."""
    with client(case, "ping") as c, awake(case.link):
        case.ready(c)
        c.measure(0.2)
        return c.measure(args.seconds)


def gaps(case, args):
    """The longest time between two arrivals of a message per ms, over each of
    many moves; `beyond`: without the outage itself."""
    found = {"still": []} if not case.moves else {"make": [], "beyond": []}
    left = args.moves
    while left > 0:
        flow = traffic(case, stream)
        case.protect(flow)
        try:
            for _ in range(min(left, CONNECTION_MOVES)):
                _move_twice(case, flow, found)
            flow.finish()
        except Died as e:
            found["error"] = str(e)
            break
        left -= CONNECTION_MOVES
    return found


def _move_twice(case, flow, found):
    if not case.moves:
        found["still"].append(_watched(flow, lambda: time.sleep(0.2)))
        return
    found["make"].append(_watched(flow, case.make_before_break))
    case.rest(flow)
    out = []
    gap = _watched(flow, lambda: out.append(case.break_before_make()))
    found["beyond"].append(gap - out[0])
    case.rest(flow)


def _watched(flow, act):
    flow.goes_on(100)
    flow.forget_gap()
    act()
    time.sleep(WATCH_S)
    flow.goes_on(10, timeout=STALL_S)
    return flow.gap_ms


def idle(case, args):
    """ms from the end of a move until the last of many idle connections has
    had its echo."""
    flow = traffic(case, echo, busy=0, idle=args.idle)
    case.protect(flow)
    time.sleep(0.5)
    if case.moves:
        case.make_before_break()
    last = flow.echo_all()
    case.rest(flow)
    flow.finish()
    return {"last_ms": last}


def connections(case, args):
    """Connections per second, each with 64 bytes there and back."""
    with client(case, "connect") as c:
        return c.measure(args.seconds)


def hooks(case, _):
    """A datagram from socket to socket in each state of the table; it makes
    hosts of its own, and rounds."""
    out = case.link.mover.run(case.link.lab.program("hooks")).stdout_text
    return {"cases": [json.loads(x) for x in out.splitlines()]}


# how it grows: many flows of one peer

def elements(case, _):
    """Map elements into the kernel and out of it, a transaction each."""
    host = case.link.mover
    out = host.run(host.lab.program("elements"), *ELEMENTS).stdout_text
    found = [json.loads(x) for x in out.splitlines()]
    check("error" not in found[-1], found[-1].get("error"))
    return {"elements": found}


def growth(case, args):
    """Whole daemons on the unit tests' kernels of paper: what they take of a
    processor, without what the kernel takes."""
    host = case.link.mover

    def run(*counts):
        out = host.run(host.lab.program("growth"), *counts).stdout_text
        return [json.loads(x) for x in out.splitlines()]
    return {"growth": run(*args.growth), "peers": run("peers", *args.peers)}


def many(case, args):
    """Connections by the thousand: the daemon's memory for each, what a list
    of them takes, and a move of all."""
    link, count = case.link, args.count
    flows, memory = [], []
    time.sleep(3)  # the daemons' own beginning
    idle_rate = _wakeups(link, args.seconds)
    began = time.monotonic()
    for n in range(1, MANY_STEPS + 1):
        step = count // MANY_STEPS
        flows.append(echo(link.mover, link.peer, busy=0, idle=step))
        link.lab.protected(flows[-1], timeout=4 * READY_S)
        memory.append((n * step, [_resident(h) for h in
                                  (link.mover, link.peer)]))
    opened_s = time.monotonic() - began
    listed = time.monotonic()
    link.mover.daemon.ctl("list")
    list_ms = 1000 * (time.monotonic() - listed)
    logs = [_Log(h) for h in (link.mover, link.peer)]
    old, new = link.here, link.next_address()
    link.add(new)
    link.here = new
    time.sleep(0.2)
    gone = link.drop(old) / 1e9
    took = []
    for log, what in zip(logs, ("moves_done", "moves_committed")):
        wait_until(f"{what} of all", lambda log=log, what=what:
                   log.flows(what) >= count, READY_S, 0.001)
        took.append(1000 * (time.time() - gone))
    asked = time.monotonic()
    for f in flows:
        f.echo_ask()
    for f in flows:
        f.echo_answered(READY_S)
    echoed = 1000 * (time.monotonic() - asked)
    for f in flows:
        case.rest(f)
    for f in flows:
        f.finish(READY_S)
    return {"flows": count, "moved_ms": max(took), "echo_ms": echoed,
            "list_ms": list_ms, "opened_s": opened_s, "resident": memory,
            "bytes_per_flow": _per_flow(memory), "wakeups_per_s": idle_rate}


def _per_flow(memory):
    """Growth of the mover's and the peer's memory after the first step, in
    which the allocator took its first pages."""
    (n0, first), (n1, last) = memory[0], memory[-1]
    if n1 == n0:
        return None
    return [(b - a) / (n1 - n0) for a, b in zip(first, last)]


def _status(host, name):
    with open(f"/proc/{host.daemon.process.pid}/status") as f:
        return next(int(x.split()[1]) for x in f if x.startswith(name))


def _resident(host):
    return _status(host, "VmRSS") * 1024


def _wakeups(link, seconds):
    rates = []
    for h in link.mover, link.peer:
        before = _status(h, "voluntary_ctxt_switches")
        time.sleep(seconds)
        rates.append((_status(h, "voluntary_ctxt_switches") - before) / seconds)
    return rates


class _Log:
    """What a daemon's log says of moves from now on."""

    def __init__(self, host):
        self.file = open(host.daemon.process.log)
        self.file.seek(0, 2)
        self.text = ""

    def flows(self, what):
        self.text += self.file.read()
        return sum(int(n) for n in re.findall(
            rf"{what}: \w+, (\d+) flows", self.text))
