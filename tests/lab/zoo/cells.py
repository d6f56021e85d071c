# SPDX-License-Identifier: GPL-2.0-or-later
"""cells: one run of one cell, and what becomes of a cell's three runs.

A cell is (host, event, peer). It runs without daemons, with them, and with
them while 30 connections have just begun; the rule is the same everywhere:
what lives without lives with, with no gap longer by more than a round trip
and 50 ms; what dies without lives; what cannot be saved has a reason in the
list, and one that can be. Never starts a process of its own.
"""
import collections
import importlib
import statistics
import time
import zlib

import traffic
from events import EVENTS, OWN_MS
from lab import Died, Failed, patient
from network import build

WAYS = ("without", "with", "young")
WINDOW_S = 6  # what has not gone on for so long after the event is dead
SLACK_MS = 50
TIMER_PART = 0.15  # of a gap of TCP
TIMER_MS = 250  # its first, and a bit
FINISH_S = 8


def run(lab, cell, way):
    """Runs it; the result is in the lab's directory."""
    lab.without_daemons = way == "without"
    places = mover, peer = build(lab)
    for p, name in zip(places, (cell.host, cell.peer)):
        p.beast = importlib.import_module("hosts." + name)
        if hasattr(p.beast, "setup"):
            p.beast.setup(p)
    forms = [f"{name} {p.form}" for p, name in
             zip(places, (cell.host, cell.peer)) if p.form]
    lab.daemons(mover.host, peer.host)
    many = traffic.start(mover, peer)
    found = {"rtt_ms": 1.0, "flows": {}, "forms": forms}
    if way != "without":
        found["unprotected"] = traffic.protected(many, mover, peer,
                                                 patient(15))
    time.sleep(0.3)  # a second look, and time for gaps to be none
    if way == "without":
        many += traffic.young(mover, peer)
    if way == "young":
        late, found["proving"] = traffic.proving(
            mover, peer, proved_before(cell), patient(5))
        many += late
    for t in many:
        t.forget_gap()
    began = time.monotonic()
    EVENTS[cell.event](mover)
    found["event_ms"] = 1000 * (time.monotonic() - began)
    found["flows"] = outcome(lab, places, many)
    for p in places:
        p.end()
    traffic.dump(lab.path("cell.json"), found)


def outcome(lab, places, many):
    """What has become of each, after the event."""
    left = dead(many, patient(WINDOW_S))
    # and again: what was under way at the event may have come by now
    left += dead(going(many, left), patient(1.5))
    gaps = {t: t.gap_ms() for t in going(many, left)}
    # A neighbour's cache may have kept some going until now: of many
    # connections, it is asked which ones before they finish.
    left += dead([t for t in gaps if t.flow.many > 1], patient(FINISH_S))
    listed = None if lab.without_daemons else traffic.lists(*places)
    flows, silent = {}, {t: t.silent() for t in left}
    end = time.monotonic() + patient(FINISH_S)
    for t in going(many, left):
        flows[t.name] = {"lives": True, "gap_ms": gaps[t]}
        try:
            t.finish(max(1, end - time.monotonic()))
        except Died as e:
            print(e)
            silent[t] = set()
        except Failed as e:
            # No network promises the order of datagrams, nor does a busy
            # machine's, which forwards them on several CPUs.
            if " 0 duplicates, " not in str(e):
                flows[t.name]["broken"] = str(e)
    for t, ports in silent.items():
        flows[t.name] = {"lives": False, "silent": len(ports) or t.flow.many}
        if listed:
            flows[t.name]["reasons"] = traffic.reasons(listed, t.flow, ports)
    if listed and (silent or any("broken" in r for r in flows.values())):
        print(lab.autopsy())
    return {t.name: flows[t.name] for t in many}


def proved_before(cell):
    """How many of 30 young connections are, at the least: in some cells the
    event comes when they are asked for, in others amid the answers."""
    return (0, 1, 10)[zlib.crc32(",".join(cell).encode()) % 3]


def going(many, left):
    return [t for t in many if t not in left]


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

# What dies without a daemon and is not to be saved: host (or None), event.
# It needs a reason in the list all the same.
LOST = {(None, "vpn_up"), ("wg_quick", "vpn_down")}
TUNNEL = {
    "tunnel": "`leave_tunnel` is off: nothing goes around a VPN",
}
# A connection is not saved that was not owned yet, as it had just begun.
YOUNG = {
    "young": "its end has not seen it for long enough to ask about it",
    "retry": "its proof was under way: a packet of each end is needed, the "
             "last one to be sent met an address that was gone",
    "no_peer": "nobody answered when its proof was offered: the path of the "
               "session, too, had just gone",
    "unknown_flow": "the other end had not seen it yet when it was asked",
    "proxy": "its proof has been tried in vain meanwhile: no packet of it "
             "comes to the other end from an address that is gone",
    "later": "it was about to enter a track that had begun to move",
    "nat": "the host's rules changed as they were read, and what cannot be "
           "ruled out counts as translated until they are read again",
}


def verdict(cell, runs, strict):
    """runs: way -> list of results; the first of each, or the first and its
    repeats, each with a run without daemons. Returns (faults, gaps, figures):
    what is wrong however often it is run, gaps that are too long, by way, and
    counts for the table. Where it is not strict, a gap is too long that no
    busy machine explains: twice the usual one and a timer of TCP more."""
    faults, gaps = [], {}
    figures = collections.Counter()
    figures.update("form: " + x for x in runs["with"][0]["forms"])
    for way in "with", "young":
        for found, control in zip(runs[way], runs["without"]):
            faults += [f"{way}: {x}" for x in not_owned(found)]
            for name, row in found["flows"].items():
                said = judge(cell, name, control["flows"][name], row)
                if found is runs[way][0]:
                    figures[said.split(":")[0]] += 1
                if found is runs[way][0] and said.startswith("lost"):
                    figures.update("lost: " + r for r in row["reasons"])
                if said.startswith("fault"):
                    faults.append(f"{way}: {name}: {said[7:]}")
        for name in runs[way][0]["flows"]:
            gap = too_long(name, runs["without"], runs[way], strict,
                           OWN_MS[cell.event])
            if gap:
                gaps.setdefault(way, []).append(f"{way}: {name}: {gap}")
    return faults, gaps, figures


def forms(figures):
    """Which hosts were not made like their kind, and in what."""
    return sorted(x[6:] for x in figures if x.startswith("form: "))


def not_owned(found):
    """What the daemons did not own when it was about to happen."""
    for name, why in found["unprotected"].items():
        yield f"{name}: not owned before the event: {', '.join(why)}"
    listed, owned = found.get("proving", (1, 0))
    if not listed or owned == traffic.YOUNG:
        yield (f"{listed} young connections were listed and {owned} proved "
               "before the event")


def judge(cell, name, control, row):
    why = (f"{row['silent']} with " if row.get("silent", 1) > 1 else "") + \
        ", ".join(row.get("reasons", []))
    if "broken" in row and "broken" not in control:
        return "fault: " + row["broken"]
    if row["lives"]:
        return "lives" if control["lives"] else "saved"
    if control["lives"]:
        return f"fault: dies, and lives without daemons: {why}"
    if any(r[0] == "(" for r in row["reasons"]):
        return f"fault: dies without a reason: {why}"
    allowed = set(YOUNG if "young" in name else ())
    if not LOST.isdisjoint({(cell.host, cell.event), (None, cell.event)}):
        allowed |= set(TUNNEL)
    if allowed.issuperset(row["reasons"]):
        return "lost: " + why
    return f"fault: could be saved: {why}"


def too_long(name, without, these, strict, own_ms=0):
    """The usual gap of these runs, beyond the usual one without daemons, a
    round trip and what nobody notices. Where the event makes an outage by its
    own clock (events.outage), a busy machine may have drawn that out: by as
    much as the event took longer, and by no more than own_ms. TCP's gap is a sum of timers, each twice the one
    before, so what the first one varies by with the round trips before the
    event comes back several times. Where even those without daemons differ
    by more than that, their longest one is the limit."""
    def of(runs):
        return [r["flows"][name]["gap_ms"] for r in runs
                if r["flows"][name]["lives"]]

    def took(runs):
        return statistics.median(r["event_ms"] for r in runs)
    without = without[:len(these)]
    gaps, controls = of(these), of(without)
    if not gaps or not controls:
        return None
    gap, usual = statistics.median(gaps), statistics.median(controls)
    slack = without[0]["rtt_ms"] + SLACK_MS
    if name.startswith("tcp") or "young" in name:
        slack = max(slack, TIMER_PART * usual)
    longer = took(these) - took(without)
    limit = usual + slack + min(max(0, longer), own_ms)
    if not strict:
        limit = max(limit, 2 * usual + TIMER_MS)
    if max(controls) - min(controls) > SLACK_MS:
        limit = max(limit, max(controls))
    if gap <= limit:
        return None
    return f"a gap of {gap:.0f} ms, {usual:.0f} without daemons"
