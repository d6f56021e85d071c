# SPDX-License-Identifier: GPL-2.0-or-later
"""Moved flows that the kernel rewrites by itself, and the way there and back.
"""
import time

from flows import echo, stream, udp
from lab import DRAIN_S, check, wait_until
from scenario import Net, lan, nodad, scenario


def on_path(lab, path, *flows):
    """Waits until both ends have them there."""
    for f in flows:
        wait_until(f"{f} goes by {path}", lambda f=f: all(
            e["path"] == path for h in (f.client, f.server)
            for e in lab.entries(h, f)), DRAIN_S + 5)


def moves_to(lab, n, host, *flows):
    """Make before break, as the operator asks; then the old address goes."""
    client = flows[0].client
    client.run("ip", "address", "replace", n.cidr(1, host), "dev", "eth0",
               *nodad(n).split())
    old = lab.entry(client, flows[0])["wire"]["local"]["addr"]
    # the kernel tells of IPv6 addresses from a work queue, later
    wait_until("it hears of the address", lambda: client.daemon.ctl(
        "move", "--to", n.ip(1, host), check=False).returncode == 0)
    lab.settled(*flows, client=n.ip(1, host))
    if old != n.ip(1, 2):  # it comes home in the end
        client.delete("eth0", old + ("/24" if n.fam == 4 else "/64"))


@scenario(fam=(4, 6))
def a_settled_flow_is_rewritten_by_the_kernel(lab, n):
    """Its packets pass the maps at both ends, and no daemon sees them."""
    client, server = lan(lab, n)
    lab.daemons(client, server, rewrite="kernel")
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam),
             stream(client, server, "up", fam=n.fam),
             stream(client, server, "down", fam=n.fam)]
    lab.protected(*flows)
    moves_to(lab, n, 9, *flows)
    on_path(lab, "kernel", *flows)
    before = [h.daemon.counter("pkt_queued") for h in (client, server)]
    for f in flows:
        f.goes_on(200)
    after = [h.daemon.counter("pkt_queued") for h in (client, server)]
    check(before == after, f"packets were queued: {before} {after}")
    for f in flows:
        for h in client, server:
            counted = lab.entry(h, f)["traffic"]["kernel"]
            check(all(v >= 100 for v in counted.values()) or
                  f.kind in ("up", "down"), f"{f} at {h.name}: {counted}")
        f.finish()


@scenario(fam=(4, 6))
def each_move_takes_a_flow_from_map_to_map(lab, n):
    """Moves by make before break: what was rewritten to one tuple is
    rewritten to the next, and nothing goes through a queue meanwhile."""
    client, server = lan(lab, n)
    lab.daemons(client, server, rewrite="kernel")
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    for host in 9, 10, 11, 2:
        moves_to(lab, n, host, *flows)
        on_path(lab, "direct" if host == 2 else "kernel", *flows)
        for f in flows:
            f.goes_on()
    for f in flows:
        f.finish()


def top_tells(lab, path):
    n = Net(4)
    client, server = lan(lab, n)
    lab.daemons(client, server, rewrite=path)
    flow, other = echo(client, server), echo(client, server)
    lab.protected(flow, other)
    d = client.daemon
    rows = {r["id"]: r for r in d.json("top", "--once", "-n", "0.5")["rows"]}
    for f in flow, other:
        r = rows[lab.entry(client, f)["id"]]
        check(r["path"] == "direct" and r["in"] is None and r["out"] is None
              and r["gap_ms"] is None and r["moves"] == 0, f"unmoved: {r}")
    other.finish()
    client.delete("eth0", n.cidr(1, 2))
    time.sleep(0.3)  # what the gap is to be at the least
    client.add("eth0", n.cidr(1, 9), nodad(n))
    lab.settled(flow, client=n.ip(1, 9))
    on_path(lab, path, flow)
    if path == "kernel":
        wait_until("the kernel's counters are known",
                   lambda: lab.entry(client, flow)["traffic"]["kernel"])
    top = d.json("top", "--once", "-n", "1")
    r, = [r for r in top["rows"] if r["state"] == "moved"]
    # An echo each way every millisecond, at its best.
    for way in "in", "out":
        check(r[way] and 50 < r[way]["packets_per_s"] < 5000 and
              r[way]["bytes_per_s"] > 40 * r[way]["packets_per_s"], f"{r}")
    check(r["path"] == path and r["moves"] == 1 and
          300 <= r["gap_ms"] < 5000, f"{r}")
    check(top["peers"] == 1 and top["moves"] == 1 and
          top["flows"]["moved"] == 1, f"{top}")
    lines = d.ctl("top", "--once", "-n", "0.5").stdout_text.splitlines()
    check("PKT/S" in lines[2] and all(len(x) <= 80 for x in lines) and
          sum(f"moved     {path}" in x for x in lines) == 1, f"{lines}")
    flow.finish()


@scenario()
def top_tells_what_the_kernel_rewrites(lab):
    """`sacipctl top --once`: rates of moved flows, none for what nobody
    sees, and the gap of the last move."""
    top_tells(lab, "kernel")


@scenario()
def top_tells_what_the_daemon_rewrites(lab):
    """The same for what goes through the queue."""
    top_tells(lab, "queue")
