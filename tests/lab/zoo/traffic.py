# SPDX-License-Identifier: GPL-2.0-or-later
"""traffic: what runs between two places while something happens to one.

TCP that talks, TCP in bulk, TCP that is idle, TCP of which one end has said
all it had to say, UDP that talks and UDP that only comes, in both families.
Each can be asked whether it goes on and for how long nothing came, and what
the daemons' lists say of it. Never decides what is good.
"""
import json
import select
import time

import flows
from lab import Died, Failed, wait_until
from network import BOTH

PACE_US = 10000
YOUNG, TRIES, YOUNG_PACE_US = 30, 6, 100000
OWNED = "protected", "moved"


class Talk:
    """A flow of the lab's `traffic`, asked without waiting."""

    def __init__(self, name, flow):
        self.name, self.flow = name, flow

    def mark(self):
        f = self.flow
        self.least = max(f.receiver.rx_bytes, f.sender.tx_bytes
                         if f.proto == "tcp" else 0) + 3 * 64

    def passed(self):
        return self.flow.receiver.rx_bytes >= self.least

    def forget_gap(self):
        self.flow.forget_gap()

    def gap_ms(self):
        return self.flow.gap_ms

    def silent(self):
        return {self.flow.port}

    def finish(self, timeout):
        try:
            self.flow.finish(timeout)
        except Died as e:
            # said to a datagram while there was no route: an answer, no end
            if self.flow.proto != "udp" or "UNREACH" not in str(e):
                raise


class Asked(Talk):
    """Connections that are all asked for an answer when it is over. Each says
    something so seldom that what is shorter than that is no gap."""

    longest, took, said = 0, None, None

    def gap_ms(self):
        return max(super().gap_ms(), YOUNG_PACE_US / 1000)

    def forget_gap(self):
        super().forget_gap()
        self.longest, self.took = 0, None

    def mark(self):
        self.took, self.said = None, None
        self.flow.echo_ask()

    def passed(self):
        if self.took is None and not self.said:
            p = self.flow.at_client
            if b"\n" in p.pending or select.select([p.popen.stdout], [], [],
                                                   0)[0]:
                try:
                    self.said = self.flow._line(p, 0.1)
                except Failed:
                    return False
                if self.said.get("echoed") == self.flow.many:
                    self.took = self.said["last_ms"]
                    self.longest = max(self.longest, self.took)
        return self.took is not None

    def silent(self):
        """The ports of those that have not answered; none where the program
        has ended, with all of them."""
        if not self.said:
            self.flow._tell(self.flow.at_client, "silent")
            try:
                self.said = self.flow._line(self.flow.at_client, 5)
            except Failed:
                return set()
        return set(self.said.get("silent", ()))


class Idle(Asked):
    """Silence is its nature: what counts is how long an answer takes."""

    def gap_ms(self):
        return self.longest


def start(near, far):
    """All kinds, from `near` to `far`."""
    found = []
    for n in BOTH:
        how = {"fam": n.fam, "to": far.address(n), "pace_us": PACE_US,
               "source": near.served.get(n.fam)}
        a, b, v = near.host, far.host, f"v{n.fam}"
        found += [
            Talk(f"tcp talking {v}", flows.echo(a, b, **how)),
            Talk(f"tcp bulk {v}", flows.copy(a, b, **how)),
            Idle(f"tcp idle {v}", flows.echo(a, b, busy=0, idle=1, **how)),
            Talk(f"tcp half-closed {v}", flows.stream(a, b, "half", **how)),
            Talk(f"udp talking {v}", flows.udp(a, b, repeat_ms=20, **how)),
            Talk(f"udp down {v}", flows.udp(a, b, "down", **how))]
    return found


def young(near, far):
    """30 new connections, of both families. Each has been answered: what is
    established at one end only is nobody's to protect."""
    found = [Asked(f"{YOUNG // 2} young tcp v{n.fam}", flows.echo(
        near.host, far.host, fam=n.fam, to=far.address(n), busy=YOUNG // 2,
        pace_us=YOUNG_PACE_US, source=near.served.get(n.fam)))
        for n in BOTH]
    for t in found:
        t.mark()
    wait_until("the young are answered", lambda: all(
        [t.passed() for t in found]), 10, 0.01)
    return found


def lists(near, far):
    """What both ends' daemons list by now."""
    return {p.host: p.host.daemon.list() for p in (near, far)}


def entries(listed, host, flow):
    """What one end lists of a flow, by the client's port."""
    found = {}
    for e in listed[host]:
        near, far = e["identity"]["local"], e["identity"]["remote"]
        if host is flow.server:
            near, far = far, near
        if (e["proto"] == flow.proto and far["addr"] == flow.far_addr and
                far["port"] == flow.server_port and
                (flow.many > 1 or near["port"] == flow.port)):
            found[near["port"]] = e
    return found


def reasons(listed, flow, ports=()):
    """What the two lists say of these connections, of all without ports.
    Where neither end has a reason for one, what they say instead is in
    brackets."""
    ends = [entries(listed, h, flow) for h in (flow.client, flow.server)]
    found = set()
    for port in ports or set().union(*ends) or {flow.port}:
        rows = [end.get(port) for end in ends]
        found |= ({e["reason"] for e in rows if e and e["reason"]} or
                  {f"({e['state']})" if e else "(not listed)" for e in rows})
    return sorted(found)


def protected(many, near, far, timeout):
    """Waits until both ends own each. Returns the names of those that they
    do not own, with the reasons."""
    end = time.monotonic() + timeout
    while True:
        listed = lists(near, far)
        left = [t for t in many if not all(
            [e["state"] in OWNED for e in entries(listed, h, t.flow).values()]
            == [True] for h in (t.flow.client, t.flow.server))]
        if not left or time.monotonic() > end:
            return {t.name: reasons(listed, t.flow) for t in left}
        time.sleep(0.1)


def proving(near, far, least, timeout):
    """30 connections that are just being proved: some are listed, at least
    so many are protected, and not all. Where the list was too slow to tell
    they are ended, and others begin; those need only be listed. Returns them
    and how many were listed and protected."""
    for left in reversed(range(TRIES)):
        late, end = young(near, far), time.monotonic() + timeout
        while True:
            listed = {near.host: near.host.daemon.list()}
            states = [e["state"] for t in late
                      for e in entries(listed, near.host, t.flow).values()]
            owned = sum(s in OWNED for s in states)
            if states and owned >= least or time.monotonic() > end:
                break
            time.sleep(0.01)
        if owned < YOUNG or not left:
            break
        least = 0
        for t in late:
            t.finish(timeout)
    return late, (len(states), owned)


def dump(path, what):
    with open(path, "w") as f:
        json.dump(what, f)
