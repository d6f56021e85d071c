# SPDX-License-Identifier: GPL-2.0-or-later
"""cells: one run of one cell, and what becomes of a cell's three runs.

A cell is (host, event, peer). It runs without daemons, with them, and with
them while 30 connections have just begun; the rule is the same everywhere:
what lives without lives with, with no gap longer by more than a round trip
and 50 ms; what dies without lives; what cannot be saved has a reason in the
list. Never starts a process of its own.
"""
import collections
import fnmatch
import importlib
import time

import traffic
from events import EVENTS
from lab import Died, Failed
from network import build

WAYS = ("without", "with", "young")
WINDOW_S = 6  # what has not gone on for so long after the event is dead
SLACK_MS = 50


def run(lab, cell, way, patience=1):
    """Runs it; the result is in the lab's directory."""
    lab.without_daemons = way == "without"
    places = mover, peer = build(lab)
    for p, name in zip(places, (cell.host, cell.peer)):
        p.beast = importlib.import_module("hosts." + name)
        if hasattr(p.beast, "setup"):
            p.beast.setup(p)
    lab.daemons(mover.host, peer.host)
    many = traffic.start(mover, peer)
    bare = {} if way == "without" else traffic.protected(many, 15 * patience)
    if not bare:
        time.sleep(0.3)  # a second look, and time for gaps to be none
    late = traffic.young(mover, peer) if way != "with" else []
    many += late
    for t in many:
        t.forget_gap()
    EVENTS[cell.event](mover)
    left = dead(many, WINDOW_S * patience)
    # and again: what was under way at the event may have come by now
    left += dead([t for t in many if t not in left], 1.5 * patience)
    found = {"rtt_ms": 1.0, "unprotected": bare, "flows": {}}
    for t in many:
        row = {"lives": t not in left}
        if row["lives"]:
            row["gap_ms"] = t.gap_ms()
        elif way != "without":
            row["reasons"] = traffic.reasons(t.flow)
        found["flows"][t.name] = row
    if left and way != "without":
        print(lab.autopsy())
    going = [t for t in many if t not in left]
    said = {t: traffic.reasons(t.flow) for t in going if way != "without"}
    for t in going:
        try:
            t.finish()
        except Died as e:
            # A neighbour's cache may have kept it going for some seconds.
            print(e)
            found["flows"][t.name] = {"lives": False,
                                      "reasons": said.get(t, [])}
        except Failed as e:
            found["flows"][t.name]["broken"] = str(e)
    for p in places:
        p.end()
    traffic.dump(lab.path("cell.json"), found)


def dead(many, timeout):
    """Those that do not go on within this time."""
    for t in many:
        t.mark()
    left, end = many, time.monotonic() + timeout
    while left and time.monotonic() < end:
        time.sleep(0.01)
        left = [t for t in left if not t.passed()]
    return left


# --- the judgement --------------------------------------------------------

# What dies without a daemon and is not to be saved: host (or None), event ->
# why. It needs a reason in the list all the same.
LOST = {
    (None, "vpn_up"): "leave_tunnel is off: nothing goes around a VPN",
    ("wg_quick", "vpn_down"): "leave_tunnel is off: nothing goes around a VPN",
}
# Faults that are known and not yet mended: hosts (at either end) and events
# where they show, none for all; a pattern of their text; what is wrong. A
# cell with no others is a TODO and no failure.
KNOWN = ()


def known(cell, fault):
    """What is known to be wrong there, or None."""
    for hosts, events, text, why in KNOWN:
        if ((not hosts or cell.host in hosts or cell.peer in hosts) and
                (not events or cell.event in events) and
                fnmatch.fnmatch(fault, text)):
            return why
    return None


def verdict(cell, runs):
    """runs: way -> list of results, the first of each and its repeats.
    Returns (faults, gaps, figures): what is wrong however often it is run,
    gaps that are too long in every run so far, and counts for the table."""
    faults, gaps = [], []
    figures = collections.Counter()
    for way in "with", "young":
        for name, row in runs[way][0]["flows"].items():
            control = runs["without"][0]["flows"][name]
            said = judge(cell, name, control, row, runs[way][0])
            figures[said.split(":")[0]] += 1
            if said.startswith("fault"):
                faults.append(f"{way}: {name}: {said[7:]}")
            elif said == "lives":
                gap = too_long(name, runs, way)
                if gap:
                    gaps.append(f"{way}: {name}: {gap}")
    return faults, gaps, figures


def judge(cell, name, control, row, found):
    why = ", ".join(row.get("reasons", []))
    if "broken" in row and "broken" not in control:
        return "fault: " + row["broken"]
    if row["lives"]:
        return "lives" if control["lives"] else "saved"
    if control["lives"]:
        return f"fault: dies, and lives without daemons: {why}"
    brackets = [r for r in row["reasons"] if r[0] == "("]
    if len(brackets) == len(row["reasons"]) or "young" in name and brackets:
        return f"fault: dies without a reason: {why}"
    if ("young" in name or (cell.host, cell.event) in LOST or
            (None, cell.event) in LOST):
        return "lost: " + why
    return f"fault: could be saved: {why}"


def too_long(name, runs, way):
    """A gap that no run of this way is without, beyond the longest of the
    runs without daemons."""
    def of(w):
        return [r["flows"][name]["gap_ms"] for r in runs[w]
                if r["flows"][name]["lives"]]
    least, limit = min(of(way)), max(of("without"), default=None)
    if limit is None or least <= limit + found_rtt(runs) + SLACK_MS:
        return None
    return f"a gap of {least:.0f} ms, {limit:.0f} without daemons"


def found_rtt(runs):
    return runs["without"][0]["rtt_ms"]
