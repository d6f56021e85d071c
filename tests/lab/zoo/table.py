# SPDX-License-Identifier: GPL-2.0-or-later
"""table: what came out, as a page.

Owns its form. Never leaves a cell out.
"""
import importlib

from events import EVENTS

HEAD = """# The zoo

Hosts as they are found, and what happens to them: `tests/lab/zoo`. This page
is written by `tests/lab/zoo/run --all --table doc/zoo.md`.

Each cell runs without daemons, with them, and with them while 30 new
connections are being proved; TCP that talks, in bulk, idle and half-closed,
and UDP that talks and that only comes, in IPv4 and IPv6. What lives without
the daemon must live with it, with no gap longer by more than a round trip and
50 ms (a gap counts where three runs agree); what dies without it must live;
what is not saved has a reason in `sacipctl list`.

`ok a+b`: a flows live as they do without daemons, b would have died and are
saved. `ok a+b-c`: c more are lost and have a reason. A letter is a fault, below.
An empty cell was not run.
"""


def first_line(doc):
    return " ".join((doc or "").split())


def cell_text(row, letters):
    if not row:
        return ""
    result, figures, notes = row
    if result == "skipped":
        return "skipped"
    text = f"{figures.get('lives', 0)}+{figures.get('saved', 0)}"
    if figures.get("lost"):
        text += f"-{figures['lost']}"
    if result == "passes":
        return "ok " + text
    return " ".join(sorted({letters[n] for n in notes}))


def lettered(rows):
    """A name for each fault: the same text in many cells is one."""
    texts = sorted({n for r in rows.values() if r[0] in ("fails", "known")
                    for n in r[2]})
    return {t: f"f{i + 1}" for i, t in enumerate(texts)}


def grid(rows, hosts, at, letters):
    names = list(EVENTS)
    out = ["| host | " + " | ".join(x.replace("_", " ") for x in names) + " |",
           "|---" * (len(names) + 1) + "|"]
    for h in hosts:
        out.append(f"| {h} | " + " | ".join(
            cell_text(rows.get(at(h, e)), letters) for e in names) + " |")
    return out


def write(path, rows):
    hosts = sorted({c for k in rows for c in (k.host, k.peer)})
    # the same fault has other figures in each cell: these go
    rows = {c: (r, f, [brief(n) for n in notes])
            for c, (r, f, notes) in rows.items()}
    letters = lettered(rows)
    Cell = type(next(iter(rows)))
    out = [HEAD, "## Something happens to the host\n",
           *grid(rows, hosts, lambda h, e: Cell(h, e, "bare"), letters),
           "\n## It happens to the peer of the host\n",
           *grid(rows, [h for h in hosts if h != "bare"],
                 lambda h, e: Cell("bare", e, h), letters)]
    if letters:
        out += ["\n## Faults\n"]
        out += [f"- {m}: {t}" for t, m in letters.items()]
    out += ["\n## Hosts\n"]
    for h in hosts:
        doc = first_line(importlib.import_module("hosts." + h).__doc__)
        out.append(f"- {doc}")
    out += ["\n## Events\n"]
    out += [f"- {e}: {first_line(w.__doc__)}" for e, w in EVENTS.items()]
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")


def brief(fault):
    """Without the way, the family and the figures."""
    import re
    fault = re.sub(r"^(with|young|without): ", "", fault)
    fault = re.sub(r" v[46]\b", "", fault)
    fault = re.sub(r": a gap of .*", ": a gap", fault)
    return re.sub(r"\d[\d.]*", "N", fault.splitlines()[0])[:120]
