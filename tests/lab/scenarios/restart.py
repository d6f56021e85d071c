# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon may die, or be upgraded: what has moved goes on."""
from flows import copy, echo, stream, udp
from lab import check
from scenario import lan, nodad, scenario


def moved(lab, n, *kinds):
    """Flows that have moved once and have settled at .1.9."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [kind(client, server) for kind in kinds]
    lab.protected(*flows)
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


def taken_up(host, count):
    check(f"took up {count} connections" in host.daemon.process.text(),
          f"{host.name} did not take up {count} connections")


@scenario(fam=(4, 6))
def detached_and_started(lab, n):
    """SIGUSR2 and a new process: as an upgrade does it. It moves on."""
    client, server, flows = moved(lab, n, *four(n))
    client.daemon.detach()
    client.daemon.start()
    taken_up(client, 4)
    lab.settled(*flows, client=n.ip(1, 9))
    for f in flows:
        f.goes_on()
    client.replace("eth0", n.cidr(1, 9), n.cidr(1, 10), nodad(n))
    lab.settled(*flows, client=n.ip(1, 10))
    end(flows)
