# SPDX-License-Identifier: GPL-2.0-or-later
"""figures: what the results say, as tables and as drawings.

Owns the arithmetic: a ratio is to the direct connection that was measured just
before, and what is shown are medians, with the least and the greatest where
there is more than one. Rewrites what stands between two marks in README.md, and
doc/figures/ by gnuplot. Never measures.
"""
import os
import statistics
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BEGIN = "<!-- bench/run plot: begin -->\n"
END = "<!-- bench/run plot: end -->\n"
DRAWINGS = {"throughput": ("throughput", "cpu"), "latency": ("latency",),
            "gaps": ("make", "beyond"),
            "growth": ("elements", "many", "paper")}
TERMINALS = {
    "svg": "svg size 900,{} dynamic background '#ffffff' font 'sans,13'",
    "png": "pngcairo size 900,{} font 'sans,10'",
}
HEIGHTS = {"throughput": 560, "latency": 360, "gaps": 480, "growth": 400}


class Part:
    """The rounds of one part, by case."""

    def __init__(self, results, name):
        part = results.get(name, {})
        self.began, self.ended = part.get("began"), part.get("ended")
        self.cases = part.get("cases", {})

    def __contains__(self, case):
        return bool(self.values(case))

    def title(self, case):
        return self.cases[case]["title"]

    def values(self, case, key=None):
        """{round: value}"""
        return {r["round"]: r.get(key) for r in
                self.cases.get(case, {}).get("rounds", ())
                if key in r or (key is None and "error" not in r)}

    def all(self, case, key):
        """Where each round has a list: all of them together."""
        return [x for v in self.values(case, key).values() for x in v]

    def against(self, case, key, how):
        return [how(r[key], r["direct"][key]) for r in
                self.cases.get(case, {}).get("rounds", ())
                if key in r and r.get("direct", {}).get(key)]

    def ratios(self, case, key):
        return self.against(case, key, lambda a, b: a / b)

    def added(self, case, key):
        return self.against(case, key, lambda a, b: a - b)


def median(values, form="{:.2f}", span=True):
    values = list(values)
    if not values:
        return "–"
    text = form.format(statistics.median(values))
    if span and len(values) > 1:
        text += (f" ({form.format(min(values))} to "
                 f"{form.format(max(values))})")
    return text


def spread(values, form="{:.1f}"):
    """Of many: median, nine of ten, the greatest."""
    if not values:
        return "–"
    v = sorted(values)
    return " / ".join(form.format(x) for x in (
        statistics.median(v), v[int(0.9 * (len(v) - 1))], v[-1]))


def beyond_floor(gaps, case):
    """Medians: gaps of single moves have no still one beside them."""
    made, still = gaps.all(case, "make"), gaps.all("unmoved", "still")
    return ([statistics.median(made) - statistics.median(still)]
            if made and still else [])


def last_line(text):
    return text.strip().splitlines()[-1]


def failures(results):
    """Rounds that came to nothing, and why."""
    for name in results:
        part = Part(results, name)
        for case, entry in part.cases.items():
            failed = [r["error"] for r in entry["rounds"] if "error" in r]
            if failed:
                yield (f"* {entry['title']}, {name}: {len(failed)} of "
                       f"{len(entry['rounds'])} rounds not finished: "
                       f"{last_line(failed[0])}")


def only(value):
    return [value] if value is not None else []


# --- the tables --------------------------------------------------------------

def goals(results):
    """(what, at least, aim, measured) of each figure that was asked for."""
    p = {n: Part(results, n) for n in ("throughput", "latency", "gaps", "idle",
                                       "connections", "elements", "many")}
    of_many = [r for r in p["many"].cases.get("kernel", {}).get("rounds", ())
               if "error" not in r]
    many = of_many[-1] if of_many else {}
    t, l, g, i, c, e, _ = p.values()
    hundred = [x["in_ms"] + x["out_ms"] for x in e.all("direct", "elements")
               if x["elements"] == 100000]
    return [
        ("unmoved: throughput, ratio to no daemon", "0.99", "1.00",
         median(t.ratios("unmoved", "gbit_s"))),
        ("unmoved: 64-byte p99, ratio to no daemon", "1.01", "1.00",
         median(l.ratios("unmoved", "p99_us"))),
        ("unmoved: new connections per second, ratio to no daemon", "", "1.00",
         median(c.ratios("unmoved", "rate"))),
        ("unmoved: a connection with one exchange, p50, ratio", "", "1.00",
         median(c.ratios("unmoved", "p50_us"))),
        ("kernel: throughput, ratio to direct", "0.85", "0.95",
         median(t.ratios("kernel", "gbit_s"))),
        ("kernel: CPU per gigabyte, ratio to direct", "1.25", "1.10",
         median(t.ratios("kernel", "cpu_s_per_gb"))),
        ("kernel: 64-byte round trip, p50 added, us", "3", "1",
         median(l.added("kernel", "p50_us"), "{:.1f}")),
        ("queue: throughput, ratio to direct", "0.25", "0.40",
         median(t.ratios("queue", "gbit_s"))),
        ("make before break: longest gap beyond the floor, ms", "1", "0",
         median(beyond_floor(g, "kernel"), "{:.1f}")),
        ("break before make: gap beyond the outage, ms", "6", "2",
         median(g.all("kernel", "beyond"), "{:.1f}")),
        ("1,000 idle connections: last echo after a move, ms", "25", "10",
         median(i.values("kernel", "last_ms").values(), "{:.0f}")),
        (f"{many.get('flows', 10000):,} connections of one peer: moved, ms",
         "1000", "200", median(only(many.get("moved_ms")), "{:.0f}")),
        ("100,000 map elements, in and out, ms", "500", "200",
         median(hundred, "{:.0f}")),
        ("memory per connection, daemon, bytes (mover, peer)", "512", "256",
         ", ".join(f"{x:.0f}" for x in many.get("bytes_per_flow") or ())
         or "–"),
        ("wake-ups per second of an idle daemon (mover, peer)", "", "1",
         ", ".join(f"{x:.1f}" for x in many.get("wakeups_per_s") or ())
         or "–"),
    ]


def comparison(results):
    t, l, g, i = (Part(results, n) for n in ("throughput", "latency", "gaps",
                                             "idle"))
    rows = []
    for case in dict.fromkeys([*t.cases, *l.cases, *g.cases]):
        part = next(p for p in (t, l, g) if case in p.cases)
        title = part.title(case)
        why = part.cases[case].get("error")
        if why:
            rows.append((f"{title}: could not run, {last_line(why)}",
                         *[""] * 7))
            continue
        still = g.all(case, "still")
        rows.append((
            title, median(t.values(case, "gbit_s").values(), "{:.3g}", False),
            median(t.ratios(case, "gbit_s"), "{:.2g}"),
            median(t.ratios(case, "cpu_s_per_gb"), "{:.3g}"),
            median(l.values(case, "p50_us").values(), "{:.1f}", False) + " / "
            + median(l.values(case, "p99_us").values(), "{:.0f}", False),
            f"*{spread(still)}*" if still else spread(g.all(case, "make")),
            spread(g.all(case, "beyond")),
            median(i.values(case, "last_ms").values(), "{:.0f}", False)))
    return rows


def hooks(results):
    """The table's own cost; nothing where it was not measured."""
    found = [x for r in results.get("hooks", {"cases": {}})["cases"].get(
        "direct", {"rounds": ()})["rounds"] for x in r.get("cases", ())]
    return [(x["case"], f"{x['median_ns']:.0f} ({x['least_ns']:.0f} to "
             f"{x['most_ns']:.0f})",
             f"{x['median_ns'] - found[0]['median_ns']:+.0f}") for x in found]


def on_paper(results):
    """How it grows: each figure, and its part of a connection in us."""
    def each(ms, flows):
        return f"{ms:.3g} ({1000 * ms / flows:.2g})"

    def both(x, part, key):
        return " / ".join(str(x[f"{part}_{end}"][key])
                          for end in ("mover", "peer"))

    body = []
    for x in Part(results, "growth").all("direct", "growth"):
        n = x["flows"]
        body.append((
            f"{n:,}", each(x["dump_ms"], n), each(x["take_in_ms"], n),
            each(x["move_mover"]["ms"], n), each(x["move_peer"]["ms"], n),
            both(x, "move", "transactions"), both(x, "move", "datagrams"),
            each(x["drain_mover"]["ms"] + x["drain_peer"]["ms"], n),
            each(x["list_ms"], n), each(x["journal_ms"], n),
            each(x["restart_ms"], n),
            f"{x['bytes_per_flow']} / {x['bytes_per_flow_moved']}"))
    return body


def of_peers(results):
    return [(f"{x['peers']:,}", f"{x['restart_ms']:.3g}",
             f"{x['datagram_us']:.2g}", f"{x['second_ms']:.3g}",
             f"{x['gone_ms']:.3g}", f"{x['transactions']:,}",
             f"{x['second_gone_ms']:.3g}")
            for x in Part(results, "growth").all("direct", "peers")]


def when(results):
    """Where and when, a line; the load is that before each part."""
    began = [p["began"] for p in results.values()]
    if not began:
        return "Nothing has been measured."
    b = began[0]
    loads = sorted(x["load"] for x in began)
    return (f"{max(x['date'] for x in began)[:10]}, Linux {b['kernel']}, "
            f"{b['cores']} cores of {b['cpu']}; load of the machine before "
            f"the parts {loads[0]:.1f} to {loads[-1]:.1f}.")


def rows(head, body):
    return "\n".join("| " + " | ".join(r) + " |" for r in
                     [head, ["---"] * len(head), *body])


def table(results):
    gaps = Part(results, "gaps")
    moves = max((len(gaps.all(c, "make")) for c in gaps.cases), default=0)
    rounds = max((len(e["rounds"]) for e in
                  Part(results, "throughput").cases.values()), default=0)
    failed = "\n".join(failures(results))
    return "\n\n".join((
        when(results) + " Medians, with least and greatest, of "
        f"{rounds} interleaved rounds.",
        rows(("what", "at least", "aim", "measured"), goals(results)),
        "What else there is, on the same cable in the same run. Ratios are to "
        "a direct connection just before. Gaps are in ms, median / nine of ten "
        f"/ greatest of {moves} moves; in italics those without a move.",
        rows(("", "Gbit/s", "ratio", "CPU per GB, ratio",
              "64 bytes, us: p50 / p99", "make before break, gap",
              "break before make, gap beyond the outage",
              "1,000 idle: last echo, ms"), comparison(results)),
        "A datagram from socket to socket, through the output hook of one "
        "host and the prerouting hook of the other.",
        rows(("the table", "ns", "more"), hooks(results)),
        "How it grows: two whole daemons in one process, on kernels of paper "
        "(no sockets, no packets, no nftables: for the kernel's own part see "
        "the drawing). Milliseconds of processor time, in brackets "
        "microseconds for each connection.",
        rows(("connections", "a dump, nothing new", "a dump, all new",
              "a move: mover", "peer", "nft transactions", "datagrams",
              "the drain's end, both", "list", "journal written", "restart",
              "bytes per connection, before / after"), on_paper(results)),
        "The same for peers that do not answer, with ten connections each.",
        rows(("peers", "all taken up, ms", "a stranger's datagram, us",
              "a second at rest, ms", "the address goes, ms",
              "nft transactions", "a second without, ms"),
             of_peers(results)),
        failed)).rstrip() + "\n"


def rewrite(path, text):
    with open(path) as f:
        old = f.read()
    if BEGIN not in old or END not in old:
        print(f"bench: {path} has no place for the figures")
        return
    before, rest = old.split(BEGIN, 1)
    with open(path, "w") as f:
        f.write(before + BEGIN + text + END + rest.split(END, 1)[1])


# --- the drawings ------------------------------------------------------------

LABELS = {"unmoved": "saciped unmoved", "kernel": "saciped kernel",
          "queue": "saciped queue", "mptcp": "MPTCP", "openvpn": "OpenVPN",
          "wireguard": "wireguard-go", "strongswan": "strongSwan",
          "mptcp-nodelay": "MPTCP nodelay"}


def three(values):
    v = list(values)
    return f"{statistics.median(v)} {min(v)} {max(v)}"


def data(results):
    """{file: lines} for gnuplot."""
    t, l, g = (Part(results, n) for n in ("throughput", "latency", "gaps"))
    files = {}
    for name, key in ("throughput", "gbit_s"), ("cpu", "cpu_s_per_gb"):
        files[name] = [f'"{LABELS.get(c, c)}" {three(t.ratios(c, key))}'
                       for c in t.cases if t.ratios(c, key)]
    files["latency"] = [f'"{LABELS.get(c, c)}" ' + " ".join(
        three(l.values(c, key).values()) for key in ("p50_us", "p99_us"))
        for c in l.cases if c in l]
    files.update(growth(results))
    # one file per case: the share of moves with no longer a gap
    for panel, keys in ("make", ("make", "still")), ("beyond", ("beyond",)):
        files[panel] = []
        for case in g.cases:
            v = sorted(x for key in keys for x in g.all(case, key))
            if v:
                files[f"{panel}.{case}"] = [f"{x} {n / len(v)}"
                                            for n, x in enumerate(v, 1)]
                files[panel].append(f"{case} {LABELS.get(case, case)}")
    return files


def growth(results):
    e, m = Part(results, "elements"), Part(results, "many")
    sums = {}
    for x in e.all("direct", "elements"):
        sums.setdefault(x["elements"], []).append(x["in_ms"] + x["out_ms"])
    return {
        "elements": [f"{n} {three(v)}" for n, v in sums.items()],
        "many": [f"{r['flows']} {r['moved_ms']} {r['list_ms']} {r['echo_ms']}"
                 for r in m.cases.get("kernel", {}).get("rounds", ())
                 if "error" not in r],
        "paper": [f"{x['flows']} {x['dump_ms']} {x['move_mover']['ms']} "
                  f"{x['move_peer']['ms']} {x['list_ms']} {x['restart_ms']}"
                  for x in Part(results, "growth").all("direct", "growth")],
    }


def draw(results, top):
    rewrite(top + "/README.md", table(results))
    out = top + "/doc/figures"
    os.makedirs(out, exist_ok=True)
    files = data(results)
    with tempfile.TemporaryDirectory(prefix="sacipbench.") as work:
        for name, lines in files.items():
            with open(f"{work}/{name}", "w") as f:
                f.writelines(line + "\n" for line in lines)
        for name, needs in DRAWINGS.items():
            if not all(files[n] for n in needs):
                continue  # not measured yet
            for kind, terminal in TERMINALS.items():
                subprocess.run(
                    ["gnuplot", "-e", f"set terminal "
                     f"{terminal.format(HEIGHTS[name])}; "
                     f"set output '{out}/{name}.{kind}'",
                     f"{HERE}/{name}.gp"], cwd=work, check=True)
