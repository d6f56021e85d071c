# SPDX-License-Identifier: GPL-2.0-or-later
"""cases: what is compared, the project's own part of it.

A case is a context: entering it starts on the link what it needs, leaving it
takes that away again and gives the mover its first address back. Owns the
order of a move. Never measures.
"""
import time

from lab import Failed, check, wait_until

MOVE_PAUSE_S = 0.2  # between the new address and the end of the old one
OUTAGE_S = 1.0
READY_S = 60
PATH_S = 15


class Unable(Exception):
    """The case cannot run here; the text says why."""


class Case:
    name = title = None
    ours = False
    moves = True  # connections live on across a move
    via = ()  # what an application is started by

    def __init__(self, link):
        self.link, self.lab = link, link.lab
        self.running = []  # what the case itself needs

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.leave()
            raise
        return self

    def __exit__(self, *unused):
        self.leave()

    def leave(self):
        try:
            for p in self.programs():
                p.end()
            self.stop()
        finally:
            self.link.reset()

    def programs(self):
        """Applications that a failure has left."""
        mine = {id(h.daemon.process) for h in (self.link.mover, self.link.peer)
                if h.daemon} | set(map(id, self.running))
        return [p for p in self.lab.processes
                if p.alive() and id(p) not in mine]

    def start(self):
        pass

    def stop(self):
        pass

    @property
    def target(self):
        """The address at which the peer's servers are reached."""
        return self.link.peer.address()

    def protect(self, flow):
        """Waits until a new flow can move."""

    def ready(self, flow):
        """Brings a new flow to where its data is to be measured."""
        self.protect(flow)

    def rest(self, flow):
        """Waits until a move is over, for the next one to start afresh."""

    # what belongs to an address that comes or goes, beside the address

    def added(self, addr):
        pass

    def leaving(self, addr):
        pass

    def make_before_break(self, pause_s=MOVE_PAUSE_S):
        link, old, new = self.link, self.link.here, self.link.next_address()
        link.add(new)
        link.here = new
        self.added(new)
        time.sleep(pause_s)
        self.leaving(old)
        link.drop(old)

    def break_before_make(self):
        """Returns for how many ms there was no address."""
        link, old, new = self.link, self.link.here, self.link.next_address()
        gone = link.drop(old)
        self.leaving(old)
        left = OUTAGE_S - (time.time_ns() - gone) / 1e9
        time.sleep(max(0, left))
        back = link.add(new)
        link.here = new
        self.added(new)
        return (back - gone) / 1e6


class Direct(Case):
    name, title, moves = "direct", "direct", False


class Saciped(Case):
    """Both daemons, and flows that they protect."""

    ours = True
    conf = {}

    def start(self):
        try:
            self.lab.daemons(self.link.mover, self.link.peer, **self.conf)
        except Failed as e:
            raise Unable(str(e)) from None

    def stop(self):
        for host in self.link.mover, self.link.peer:
            if host.daemon:
                host.daemon.stop()
                host.daemon = None

    def protect(self, flow):
        self.lab.protected(flow, timeout=READY_S)


class Unmoved(Saciped):
    name, title, moves = "unmoved", "saciped runs, nothing moved", False


class Short(Unmoved):
    """As shipped: connections of less than ten seconds are left alone."""

    conf = {"long_lived_after_s": 10}


class Moved(Saciped):
    """Each flow is moved once before it is measured."""

    def __init__(self, link):
        super().__init__(link)
        self.conf = {"rewrite": self.path}

    def ready(self, flow):
        self.protect(flow)
        self.make_before_break(0)
        self.rest(flow)

    def rest(self, flow):
        self.lab.settled(flow, client=self.link.here, timeout=READY_S)
        wait_until(f"{flow} is on its path", lambda: self._is_on_path(flow),
                   PATH_S)

    def _is_on_path(self, flow):
        for host in flow.client, flow.server:
            for e in self.lab.entries(host, flow):
                check(e.get("path") == self.path, f"{flow} at {host.name} is "
                      f"on path {e.get('path')}, not {self.path}")
        return True


class Kernel(Moved):
    name, title, path = "kernel", "moved, rewritten by the kernel", "kernel"


class Queue(Moved):
    name, title, path = "queue", "moved, rewritten through the queue", "queue"


OURS = [Direct, Unmoved, Kernel, Queue]
