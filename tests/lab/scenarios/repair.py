# SPDX-License-Identifier: GPL-2.0-or-later
"""Somebody takes away what the daemon has put into the kernel: it is back
within REPAIR_MS, told by events, and nothing leaks meanwhile."""
import re
import time

from flows import copy, echo, udp
from lab import TABLE, Skip, check, wait_until
from restart import RESETS
from scenario import lan, nodad, scenario

REPAIR_MS = 100  # where the machine has nothing else to do
LATE_MS = 1000


def moved(lab, n, kinds=(echo, copy, udp)):
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [kind(client, server, fam=n.fam) for kind in kinds]
    lab.protected(*flows)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    lab.leaks = lab.capture(client, "eth0", "(tcp or udp) and not port 1021 "
                            f"and {n.proto} host {n.ip(1, 2)}")
    lab.resets = lab.capture(server, "eth0", RESETS[n.fam])
    return client, server, flows


class Monitor:
    """`ip -ts monitor`: what came and went, and when."""

    LINE = re.compile(r"\[\d+-\d+-\d+T(\d+):(\d+):([\d.]+)\] (Deleted )?(.*)")

    def __init__(self, host, fam):
        self.file = host.lab.path(f"{host.name}.events")
        self.out = open(self.file, "wb")
        self.process = host.spawn("stdbuf", "-oL", "ip", "-ts", f"-{fam}",
                                  "monitor", "rule", "route", "address",
                                  name="monitor", stdout=self.out)

    def events(self):
        with open(self.file) as f:
            for line in f:
                m = self.LINE.match(line.strip())
                if m:
                    h, minute, s, gone, what = m.groups()
                    yield (float(s) + 60 * int(minute) + 3600 * int(h),
                           bool(gone), " ".join(what.split()))

    def repaired(self, pattern):
        """ms from when the first of these went until the last came back."""
        gone, back = {}, {}
        for at, lost, what in self.events():
            if re.search(pattern, what):
                (gone if lost else back)[what] = at
        if not gone or any(back.get(w, 0) < t for w, t in gone.items()):
            return None
        return 1000 * max(back[w] - t for w, t in gone.items())


def repairs(lab, host, n, pattern, flows, *lines):
    monitor = Monitor(host, n.fam)
    time.sleep(0.3)  # it says nothing when it listens
    host.run("ip", f"-{n.fam}", "-batch", "-", input="\n".join(lines) + "\n")
    took = wait_until(f"{pattern} is back", lambda: monitor.repaired(pattern),
                      5)
    print(f"repaired after {took:.1f} ms, {REPAIR_MS} wanted")
    check(took < LATE_MS, f"repaired after {took:.1f} ms")
    monitor.process.end()
    check(host.daemon.counter("routes_restored") > 0, "nothing was counted")
    for f in flows:
        f.goes_on()
    lab.leaks.none("untranslated")
    lab.resets.none("resets")
    for f in flows:
        f.finish()


@scenario(fam=(4, 6))
def rules_flushed(lab, n):
    """`ip rule flush` takes all rules, ours with them, and table main: who
    sends a datagram before it is back is told ENETUNREACH."""
    client, server, flows = moved(lab, n, (echo, copy))
    default = ["rule add pref 32767 lookup default"] if n.fam == 4 else []
    repairs(lab, client, n, "lookup 102[12]", flows, "rule flush",
            "rule add pref 32766 lookup main", *default)


@scenario(fam=(4, 6))
def guards_flushed(lab, n):
    """The table that keeps what is untranslated from leaving."""
    client, server, flows = moved(lab, n)
    repairs(lab, client, n, f"table {TABLE}", flows, f"route flush table {TABLE}")


@scenario(fam=(4, 6))
def deliveries_flushed(lab, n):
    """The table that leads what is translated to its socket."""
    client, server, flows = moved(lab, n)
    repairs(lab, server, n, f"table {TABLE + 1}", flows, f"route flush table {TABLE + 1}")


@scenario(fam=(4,))
def retained_address_deleted(lab, n):
    """Its copy on lo: without it TCP could not send. (Whoever sends a datagram
    in between is told ENETUNREACH by the kernel; nobody can undo that.)"""
    client, server, flows = moved(lab, n, (echo, copy))
    repairs(lab, client, n, rf"inet {n.ip(1, 2)} peer", flows,
            "address flush dev lo label lo:sacip")


@scenario(fam=(4, 6))
def sink_deleted(lab, n):
    """The device that the guard's routes end in, and they with it."""
    client, server, flows = moved(lab, n)
    client.ip("link del sacip-sink")
    wait_until("the guard is back", lambda: "dev sacip-sink" in client.run(
        "ip", f"-{n.fam}", "route", "show", "table", TABLE).stdout_text, 2)
    for f in flows:
        f.goes_on()
    lab.leaks.none("untranslated")
    for f in flows:
        f.finish()


@scenario(fam=(4, 6))
def firewall_flushed(lab, n):
    """`nft flush ruleset`, and what `systemctl reload nftables` does: an
    owned table does not even notice."""
    client, server, flows = moved(lab, n)
    if "table owned" not in client.daemon.ctl("status").stdout_text:
        raise Skip("this kernel has no owned tables")
    for h in client, server:
        h.run("nft", "flush ruleset; table inet filter { chain input { "
              "type filter hook input priority 0; policy accept; }; }")
    for f in flows:
        f.goes_on()
    lab.leaks.none("untranslated")
    lab.resets.none("resets")
    for f in flows:
        f.finish()


FIGHT_S = 3


@scenario(fam=(4, 6))
def somebody_keeps_removing_our_rules(lab, n):
    """As fast as it can: the daemon does not answer as fast, nothing leaks,
    and when it is over all is back."""
    client, server, flows = moved(lab, n, (echo, copy))
    counts = [client.daemon.counter(c)
              for c in ("routes_restored", "repairs_delayed")]
    stop = time.monotonic() + FIGHT_S
    while time.monotonic() < stop:
        client.run("ip", f"-{n.fam}", "-force", "-batch", "-", check=False,
                   input="rule del pref 1022\n" * 200)
    wait_until("the rule is back", lambda: "1022:" in client.run(
        "ip", f"-{n.fam}", "rule").stdout_text, 2)
    restored, delayed = (client.daemon.counter(c) - before for c, before in
                         zip(("routes_restored", "repairs_delayed"), counts))
    print(f"{restored} restored in {FIGHT_S} s, {delayed} after a while")
    check(restored < 40, f"{restored} times restored in {FIGHT_S} s")
    check(delayed > 0, "none was delayed")
    for f in flows:
        f.goes_on()
    lab.leaks.none("untranslated")
    lab.resets.none("resets")
    for f in flows:
        f.finish()
