# SPDX-License-Identifier: GPL-2.0-or-later
"""table: what came out, as a page.

Owns its form, and the file of results that one run leaves for the next.
Never leaves a fault out.
"""
import importlib
import json
import os
import re

import cells
import choice
from choice import Cell
from events import EVENTS, OWN_MS

HEAD = """# The zoo

Hosts as they are found, and what happens to them: `tests/lab/zoo`. This page
is written by `tests/lab/zoo/run --all --table doc/zoo.md`.

Each cell runs without daemons, with them, and with them while 30 new
connections are being proved; TCP that talks, in bulk, idle and half-closed,
and UDP that talks and that only comes, in IPv4 and IPv6. What lives without
the daemon must live with it, with no gap longer by more than a round trip and
50 ms, or of TCP 15 % where that is more (the median of three, where the first
is longer); where the event itself makes an outage, by as much more as that was
drawn out on a busy machine, and never by more than is said below; what dies
without it must live. What is not saved has a reason in
`sacipctl list`, and may only have one of those below: of 30 connections that
are just being proved some are not owned yet when it happens.

`a+b`: a flows live as they do without daemons, b would have died and are
saved (15 new connections of a family count for one). `a+b-c ru`: of c more
some or all are lost, for the reasons with these letters. `F1`: a fault, named
below.
"""
# The letter of each reason for what is not saved.
LETTERS = {"young": "y", "retry": "r", "no_peer": "n", "unknown_flow": "u",
           "later": "l", "proxy": "p", "tunnel": "t", "nat": "x"}


def first_line(doc):
    return " ".join((doc or "").split())


def cell_text(row, names):
    if not row:
        return "not run"
    result, figures, notes = row
    if result == "skipped":
        return "skipped"
    if result != "passes":
        return " ".join(sorted({names[n] for n in notes},
                               key=lambda x: int(x[1:])))
    text = f"{figures.get('lives', 0)}+{figures.get('saved', 0)}"
    if not figures.get("lost"):
        return text
    letters = "".join(x for r, x in LETTERS.items() if f"lost: {r}" in figures)
    return f"{text}-{figures['lost']} {letters or '?'}"


def legend(rows):
    """What each letter stands for, and how often it does."""
    out = []
    for reason, why in (cells.YOUNG | cells.TUNNEL).items():
        n = [r[1].get("lost: " + reason, 0) for r in rows.values()]
        out.append(f"- {LETTERS[reason]}: `{reason}`, {sum(n)} times in "
                   f"{sum(map(bool, n))} cells: {why}")
    return out


def host_text(host, rows):
    """What its file says, and what it could not be made like."""
    text = first_line(importlib.import_module("hosts." + host).__doc__)
    found = {x.removeprefix(host + " ") for r in rows.values()
             for x in cells.forms(r[1]) if x.startswith(host + " ")}
    return f"- {text}" + "".join(f" ({x})" for x in sorted(found))


def brief(fault):
    """The fault without its way and figures: the same in many cells is one."""
    fault = re.sub(r"^(with|young|without): ", "", fault.splitlines()[0])
    fault = re.sub(r": a gap of .*", ": a gap", fault)
    return re.sub(r"\d[\d.]*", "N", fault)[:120]


def kinds():
    """What a check of each change runs of all this."""
    few = choice.few(list(EVENTS))
    return ["## The choice of every check\n",
            f"Without `--all` these {len(few)} cells run: all pairs of a kind "
            "of host with an event, of an event with a kind of peer, and of "
            "two kinds; not all pairs of hosts. Each host is at either end at "
            "least once, and speaks for its kind in the other cells. A kind is "
            "what tells a host from a bare one:\n",
            *(f"- {name}: {', '.join(hosts)}"
              for name, hosts in choice.KINDS.items()), ""]


def event_text(name, work):
    own = OWN_MS[name]
    return f"- {name}: {first_line(work.__doc__)}" + (
        f" (an outage of its own, {own} ms: a gap may be longer by what that "
        "took longer, and by no more)" if own else "")


def grid(rows, hosts, at, names):
    events = list(EVENTS)
    out = ["| host | " + " | ".join(e.replace("_", " ") for e in events)
           + " |", "|---" * (len(events) + 1) + "|"]
    return out + [f"| {h} | " + " | ".join(
        cell_text(rows.get(at(h, e)), names) for e in events) + " |"
        for h in hosts]


def page(rows):
    rows = {c: (r, f, [brief(n) for n in notes])
            for c, (r, f, notes) in rows.items()}
    texts = sorted({n for r in rows.values() if r[0] == "fails"
                    for n in r[2]})
    names = {t: f"F{i + 1}" for i, t in enumerate(texts)}
    sides = (("It happens to the host; its peer is bare",
              choice.HOSTS, lambda h, e: Cell(h, e, "bare")),
             ("It happens to the bare peer of the host",
              [h for h in choice.HOSTS if h != "bare"],
              lambda h, e: Cell("bare", e, h)))
    out = [HEAD]
    for title, hosts, at in sides:
        if any(at(h, e) in rows for h in hosts for e in EVENTS):
            out += [f"## {title}\n", *grid(rows, hosts, at, names), ""]
    others = [c for c in choice.few(list(EVENTS)) if c in rows]
    out += kinds()
    if others:
        out += ["| host | event | peer | result |", "|---|---|---|---|"]
        out += [f"| {c.host} | {c.event} | {c.peer} | "
                f"{cell_text(rows[c], names)} |" for c in others] + [""]
    out += ["## Reasons\n", *legend(rows), ""]
    if names:
        out += ["## Faults\n", *(f"- {m}: {t}" for t, m in names.items()), ""]
    out += ["## Hosts\n", *(host_text(h, rows) for h in choice.HOSTS), "",
            "## Events\n"]
    out += [event_text(e, w) for e, w in EVENTS.items()]
    return "\n".join(out) + "\n"


def recall(path):
    """Results of earlier runs, of cells that are still there."""
    if not os.path.exists(path):
        return {}
    with open(path) as f:
        return {Cell(*k.split(",")): tuple(v)
                for k, v in json.load(f).items()}


def keep(path, rows):
    with open(path, "w") as f:
        json.dump({",".join(c): r for c, r in rows.items()}, f, indent=0)
