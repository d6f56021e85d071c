# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon may die, or be upgraded: what has moved goes on."""
import contextlib
import json
import os
import socket
import time

from flows import copy, echo, stream, udp
from lab import check, wait_until
from promoted import moves_to, on_path
from removal import GRACE_NS
from scenario import Net, lan, nodad, scenario

GAP_MAX_MS = 150  # of a busy machine; a lost segment costs 200
RESETS = {4: "tcp[13] & 4 != 0", 6: "ip6[6] == 6 and ip6[53] & 4 != 0"}


def moved(lab, n, *kinds, gently=False, **conf):
    """Flows that have moved once and have settled at .1.9. Gently: by make
    before break, so that none of them was ever queued."""
    client, server = lan(lab, n)
    lab.daemons(client, server, **conf)
    flows = [kind(client, server) for kind in kinds]
    lab.protected(*flows)
    if gently:
        moves_to(lab, n, 9, *flows)
        client.delete("eth0", n.cidr(1, 2))
    else:
        client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    return client, server, flows


def four(n):
    """A talker, a listener, a copier and datagrams."""
    return (lambda c, s: echo(c, s, fam=n.fam),
            lambda c, s: stream(c, s, "down", fam=n.fam),
            lambda c, s: copy(c, s, fam=n.fam),
            lambda c, s: udp(c, s, fam=n.fam))


def end(flows):
    for f in flows:
        f.goes_on()
    for f in flows:
        f.finish()


def our_table(host):
    """Its handle: another table has another one."""
    found = [t["table"]["handle"] for t in json.loads(
        host.run("nft", "-j", "list", "tables").stdout_text)["nftables"]
        if t.get("table", {}).get("name") == "sacip"]
    check(len(found) == 1, f"{host.name} has {len(found)} tables")
    return found[0]


def taken_up(host, count):
    check(f"took up {count} connections" in host.daemon.process.text(),
          f"{host.name} did not take up {count} connections")


@scenario(fam=(4, 6))
def detached_and_started(lab, n):
    """SIGUSR2 and a new process: as an upgrade does it. It moves on."""
    client, server, flows = moved(lab, n, *four(n))
    client.daemon.detach()
    check("ended: 4 moved connections left to the kernel, table inet sacip "
          "kept" in client.daemon.process.text(), "its end was not told")
    client.daemon.start()
    taken_up(client, 4)
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 10), nodad(n))
    lab.settled(*flows, client=n.ip(1, 10))
    end(flows)


@scenario(fam=(4, 6))
def mover_killed_in_a_transfer(lab, n):
    """SIGKILL at the host that has moved, under load; a new one takes over."""
    client, server, flows = moved(lab, n, *four(n))
    killed_and_started(lab, n, flows, client)


@scenario(fam=(4, 6))
def peer_killed_in_a_transfer(lab, n):
    """The same at the other end."""
    client, server, flows = moved(lab, n, *four(n))
    killed_and_started(lab, n, flows, server)


@scenario(fam=(4, 6))
def both_killed_in_a_transfer(lab, n):
    """Both at once: they find each other where they are, not where they
    were, and nothing leaks meanwhile."""
    client, server, flows = moved(lab, n, *four(n))
    killed_and_started(lab, n, flows, client, server)


def killed_and_started(lab, n, flows, *hosts):
    client, server = flows[0].client, flows[0].server
    leaks = lab.capture(client, "eth0", "(tcp or udp) and not port 1021 and "
                        f"{n.proto} host {n.ip(1, 2)}")
    resets = lab.capture(server, "eth0", RESETS[n.fam])
    for h in hosts:
        h.daemon.kill()
    time.sleep(0.3)
    for h in hosts:
        h.daemon.start()
        taken_up(h, len(flows))
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 10), nodad(n))
    lab.settled(*flows, client=n.ip(1, 10))
    server.replace("eth0", n.cidr(1, 3), n.cidr(1, 13), nodad(n))
    lab.settled(*flows, client=n.ip(1, 10), server=n.ip(1, 13))
    leaks.none("untranslated")
    resets.none("resets")
    end(flows)


@scenario(fam=(4, 6))
def moved_while_nobody_looked(lab, n):
    """The address changes while the daemon is dead: nothing leaks until the
    next one is there, finds out and moves."""
    client, server, flows = moved(lab, n, *four(n))
    wire = lab.capture(client, "eth0", "(tcp or udp) and not port 1021 and ("
                       f"{n.proto} src {n.ip(1, 2)} or {n.proto} src "
                       f"{n.ip(1, 9)})")
    client.daemon.kill()
    client.add("eth0", n.cidr(1, 10), nodad(n))
    _, gone = client.delete_now("eth0", n.cidr(1, 9))
    time.sleep(0.3)
    wire.none("from an address that is gone", since=gone + GRACE_NS)
    client.daemon.start()
    lab.settled(*flows, client=n.ip(1, 10))
    wire.none("from an address that is gone", since=gone + GRACE_NS)
    end(flows)


@scenario(fam=(4, 6))
def killed_before_anything_moved(lab, n):
    """Flows that were only protected are so at once again."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [kind(client, server) for kind in four(n)]
    lab.protected(*flows)
    client.daemon.kill()
    client.daemon.start()
    taken_up(client, 4)
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    end(flows)


@scenario(fam=(4, 6), timeout=90)
def killed_in_each_state(lab, n):
    """HELD, ASKED and SWITCHED at the mover, OFFERED at the peer: each time
    the one is killed while the other is stopped, so that it must stand."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [kind(client, server) for kind in four(n)]
    lab.protected(*flows)
    client.delete("eth0", n.cidr(1, 2))
    client.daemon.kill()  # HELD
    client.daemon.start()
    client.add("eth0", n.cidr(1, 9), nodad(n))
    lab.settled(*flows, client=n.ip(1, 9))
    server.daemon.pause()
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 10), nodad(n))
    in_state(client, flows[0], "moving")
    client.daemon.kill()  # ASKED
    server.daemon.resume()
    client.daemon.start()
    lab.settled(*flows, client=n.ip(1, 10))
    for f in flows:
        f.goes_on()
    server.daemon.pause()
    client.replace("eth0", n.cidr(1, 10), n.cidr(1, 11), nodad(n))
    in_state(client, flows[0], "moving")
    server.daemon.kill()  # STEADY, asked
    server.daemon.start()
    lab.settled(*flows, client=n.ip(1, 11))
    end(flows)


def in_state(host, flow, state):
    wait_until(f"{flow} is {state}", lambda: host.lab.entry(
        host, flow)["state"] == state, 5)


@scenario(fam=(4, 6), alone=True)
def the_kernel_rewrites_while_no_daemon_runs(lab, n):
    """Flows in the maps do not notice that both daemons die, are away for a
    second, and come back: no packet is lost, none is seen untranslated."""
    client, server, flows = moved(
        lab, n, *four(n), lambda c, s: udp(c, s, "up", fam=n.fam),
        gently=True, rewrite="kernel")
    on_path(lab, "kernel", *flows)
    leaks = lab.capture(client, "eth0", "(tcp or udp) and not port 1021 and "
                        f"{n.proto} host {n.ip(1, 2)}")
    resets = lab.capture(server, "eth0", RESETS[n.fam])
    for f in flows:
        f.forget_gap()
    for h in client, server:
        h.daemon.kill()
    time.sleep(0.5)
    for f in flows:
        f.goes_on(100)
    for h in client, server:
        table = our_table(h)
        h.daemon.start()
        taken_up(h, len(flows))
        if not lab.without_daemons:
            check(our_table(h) == table, f"{h.name}: another table")
    on_path(lab, "kernel", *flows)
    for f in flows:
        f.goes_on(100)
        check(f.gap_ms < GAP_MAX_MS, f"{f} stood for {f.gap_ms:.1f} ms")
    leaks.none("untranslated")
    resets.none("resets")
    results = [f.finish() for f in flows]
    lost = flows[-1].lost(results[-1])
    check(lost == 0, f"{lost} datagrams lost")


@scenario(fam=(4, 6))
def what_no_journal_names_ends(lab, n):
    """The journal is gone: a moved flow that is in no map ends at both ends,
    and nothing of it is seen by the old address; one that has not moved goes
    on."""
    client, server, flows = moved(
        lab, n, lambda c, s: echo(c, s, fam=n.fam), rewrite="queue")
    still = echo(client, server, fam=n.fam)
    lab.protected(still)
    leaks = lab.capture(client, "eth0", "(tcp or udp) and not port 1021 and "
                        f"{n.proto} host {n.ip(1, 2)}")
    client.daemon.kill()
    os.unlink(client.daemon.conf["runtime_dir"] + "/journal")
    client.daemon.start()
    wait_until("the moved flow has ended",
               lambda: not flows[0].at_client.alive(), 5)
    wait_until("the peer's end has ended, too",
               lambda: all(e["state"] != "moved"
                           for e in server.daemon.list()), 5)
    leaks.none("untranslated")
    still.goes_on().finish()


@scenario(fam=(4, 6))
def what_the_maps_name_is_translated_on(lab, n):
    """The journal is gone, and all that is known is what the kernel rewrites:
    flows go on, and nothing passes untranslated."""
    client, server, flows = moved(lab, n, *four(n), gently=True,
                                  rewrite="kernel")
    leaks = lab.capture(client, "eth0", "(tcp or udp) and not port 1021 and "
                        f"{n.proto} host {n.ip(1, 2)}")
    resets = lab.capture(server, "eth0", RESETS[n.fam])
    for host in client, server:
        host.daemon.kill()
        os.unlink(host.daemon.conf["runtime_dir"] + "/journal")
        host.daemon.start()
    for f in flows:
        f.goes_on()
        check(lab.wire(client, f)[0][0] == n.ip(1, 9), "another wire tuple")
    leaks.none("untranslated")
    resets.none("resets")
    end(flows)


@scenario()
def the_watchdog_is_fed_unless_we_are_stuck(lab):
    """WATCHDOG=1 at half the interval that the service manager names; a
    process that stands still says nothing."""
    host, _ = lan(lab, Net(4))
    host.saciped()
    host.daemon.detach()
    host.daemon.env = {"WATCHDOG_USEC": "400000"}
    host.daemon.start()
    path = lab.path(f"{host.name}.notify")
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(2)
        began = time.monotonic()
        for _ in range(5):
            check(manager.recv(100) == b"WATCHDOG=1", "something else")
        took = time.monotonic() - began
        check(0.7 < took < 1.6, f"five times in {took:.2f} s")
        host.daemon.pause()
        manager.settimeout(0.5)
        heard = 0
        with contextlib.suppress(TimeoutError):
            while manager.recv(100):
                heard += 1  # one may have been on its way
        check(heard <= 1, f"heard {heard} times of one that is stopped")
