# SPDX-License-Identifier: GPL-2.0-or-later
"""Moved flows on the queue path: the daemon's workers.

Queue numbers, from the configured one on: in, out and their cutters; strays,
the first worker and their cutters; two workers and theirs, and so on.
"""
import os

from flows import copy, echo, udp
from lab import DRAIN_S, QUEUE, check, wait_until
from scenario import Net, lan, nodad, scenario

from promoted import moves_to, on_path

OWN = (QUEUE, QUEUE + 1)
STRAYS = QUEUE + 4


def worker_queue(k):
    i = k + 1
    return QUEUE + 4 + 4 * (i // 2) + i % 2


def threads(host):
    """But for the one that waits so that the others need not."""
    task = f"/proc/{host.daemon.process.pid}/task"
    return sum(host.read(f"{task}/{t}/comm").strip() != "aside"
               for t in os.listdir(task))


def queued(host):
    """Packets by queue number, as the kernel counts."""
    rows = host.queues()
    return {int(x.split()[0]): int(x.split()[7]) for x in rows.splitlines()}


@scenario(fam=(4, 6), alone=True, timeout=120)
def each_worker_has_its_share_of_a_host_pair(lab, n):
    """Four workers, eight connections of one pair of hosts, moves under load:
    make before break, a break, and home."""
    client, server = lan(lab, n)
    lab.daemons(client, server, rewrite="queue", queues=4)
    flows = [copy(client, server, kind, fam=n.fam) for kind in
             ("up", "down", "up", "down")]
    flows += [echo(client, server, fam=n.fam), echo(client, server, fam=n.fam),
              udp(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    lab.protected(*flows)
    for h in client, server:
        check(not any(worker_queue(k) in queued(h) for k in range(4)) and
              threads(h) == 1,
              f"{h.name} has workers before anything has moved")
    for host in 9, 10:
        moves_to(lab, n, host, *flows)
        on_path(lab, "queue", *flows)
        before = [queued(h) for h in (client, server)]
        for f in flows:
            f.goes_on(300, 30)  # beside bulk in the same queues
        for h, was in zip((client, server), before):
            now = queued(h)
            for k in range(4):
                more = now[worker_queue(k)] - was.get(worker_queue(k), 0)
                check(more >= 100, f"{h.name}: worker {k} got {more} packets")
            for q in OWN:
                check(now[q] - was[q] < 10,
                      f"{h.name}: {now[q] - was[q]} packets in queue {q}")
            for f in flows:
                carried = lab.entry(h, f)["traffic"]["queue"]
                check(all(v >= 100 for v in carried.values()),
                      f"{h.name}: {f} {carried}")
    client.delete("eth0", n.cidr(1, 2))
    client.delete("eth0", n.cidr(1, 10))
    client.add("eth0", n.cidr(1, 11), nodad(n))
    lab.settled(*flows, client=n.ip(1, 11))
    on_path(lab, "queue", *flows)
    for f in flows:
        f.goes_on()
    moves_to(lab, n, 2, *flows)
    on_path(lab, "direct", *flows)
    for h in client, server:
        wait_until(f"{h.name} has no workers any more",
                   lambda h=h: threads(h) == 1, DRAIN_S + 5)
    for f in flows:
        f.goes_on()
        f.finish()


@scenario()
def without_workers_the_daemon_does_it_all(lab):
    """queues = 0."""
    n = Net(4)
    client, server = lan(lab, n)
    lab.daemons(client, server, rewrite="queue", queues=0)
    flow = echo(client, server)
    lab.protected(flow)
    moves_to(lab, n, 9, flow)
    on_path(lab, "queue", flow)
    before = queued(client)
    flow.goes_on(200)
    now = queued(client)
    check(STRAYS not in now and all(now[q] - before[q] >= 100 for q in OWN),
          f"{before} {now}")
    flow.finish()
