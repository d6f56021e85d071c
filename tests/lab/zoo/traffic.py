# SPDX-License-Identifier: GPL-2.0-or-later
"""traffic: what runs between two places while something happens to one.

TCP that talks, TCP in bulk, TCP that is idle, TCP of which one end has said
all it had to say, UDP that talks and UDP that only comes, in both families. Each can be asked
whether it goes on and for how long nothing came. Never decides what is good.
"""
import json
import select
import socket
import threading
import time

import flows
from lab import Died, Failed
from network import BOTH

PACE_US = 5000
YOUNG = 30
FINAL = {"nat"}  # reasons that no time mends


class Talk:
    """A flow of the lab's `traffic`, asked without waiting."""

    def __init__(self, name, flow):
        self.name, self.flow = name, flow

    def mark(self):
        f = self.flow
        self.least = max(f.receiver.rx_bytes, f.sender.tx_bytes
                         if f.proto == "tcp" else 0) + 3 * 64

    def passed(self):
        return self.flow.receiver.rx_bytes >= self.least

    def forget_gap(self):
        self.flow.forget_gap()

    def gap_ms(self):
        return self.flow.gap_ms

    def finish(self):
        try:
            self.flow.finish(8)
        except Died as e:
            # said to a datagram while there was no route: an answer, no end
            if self.flow.proto != "udp" or "UNREACH" not in str(e):
                raise


class Asked(Talk):
    """Connections that are all asked for an answer when it is over."""

    longest, took = 0, None

    def mark(self):
        self.longest = max(self.longest, self.took or 0)
        self.began, self.took = time.monotonic(), None
        self.flow.echo_ask()

    def passed(self):
        if self.took is None:
            p = self.flow.at_client
            if b"\n" in p.pending or select.select([p.popen.stdout], [], [],
                                                   0)[0]:
                try:
                    said = self.flow._line(p, 0.1)
                except Failed:
                    return False
                if said.get("echoed") == self.flow.many:
                    self.took = 1000 * (time.monotonic() - self.began)
        return self.took is not None

    def gap_ms(self):
        return max(self.longest, self.took)


class HalfClosed:
    """The client has sent its FIN; the server goes on sending. Both sockets
    are this process's, each looked after by a thread."""

    proto, many = "tcp", 1

    def __init__(self, name, near, far, n, port):
        self.name, self.client, self.server = name, near.host, far.host
        fam = socket.AF_INET if n.fam == 4 else socket.AF_INET6
        listener = far.host.socket(fam, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((far.address(n), port))
        listener.listen()
        self.near = near.host.socket(fam, socket.SOCK_STREAM)
        if near.served.get(n.fam):
            self.near.bind((near.address(n), 0))
        self.near.settimeout(5)
        self.near.connect((far.address(n), port))
        self.near.settimeout(None)
        self.far, _ = listener.accept()
        listener.close()
        self.near_addr, self.port = self.near.getsockname()[:2]
        self.far_addr, self.server_port = far.address(n), port
        self.near.shutdown(socket.SHUT_WR)
        self.flow, self.sent, self.got, self.longest = self, 0, 0, 0
        self.last, self.stop = time.monotonic(), threading.Event()
        self.threads = [threading.Thread(target=t, daemon=True)
                        for t in (self._send, self._take)]
        for t in self.threads:
            t.start()

    def _send(self):
        try:
            while not self.stop.wait(PACE_US / 1e6):
                self.sent += self.far.send(bytes(64))
            self.far.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _take(self):
        try:
            while got := self.near.recv(65536):
                now = time.monotonic()
                self.longest = max(self.longest, now - self.last)
                self.last, self.got = now, self.got + len(got)
        except OSError:
            pass

    def mark(self):
        self.least = max(self.sent, self.got) + 3 * 64

    def passed(self):
        return self.got >= self.least

    def forget_gap(self):
        self.longest = 0

    def gap_ms(self):
        return 1000 * self.longest

    def finish(self):
        self.stop.set()
        for t in self.threads:
            t.join(5)
        if self.got != self.sent:
            raise Failed(f"{self.name}: {self.sent} bytes were sent, "
                         f"{self.got} came")


def start(near, far):
    """All kinds, from `near` to `far`."""
    found = []
    for n in BOTH:
        how = {"fam": n.fam, "to": far.address(n), "pace_us": PACE_US,
               "source": near.served.get(n.fam)}
        a, b, v = near.host, far.host, f"v{n.fam}"
        found += [
            Talk(f"tcp talking {v}", flows.echo(a, b, **how)),
            Talk(f"tcp bulk {v}", flows.copy(a, b, **how)),
            Asked(f"tcp idle {v}", flows.echo(a, b, busy=0, idle=1, **how)),
            HalfClosed(f"tcp half-closed {v}", near, far, n,
                       near.lab.port()),
            Talk(f"udp talking {v}", flows.udp(a, b, repeat_ms=20, **how)),
            Talk(f"udp down {v}", flows.udp(a, b, "down", **how))]
    return found


def young(near, far):
    """30 new connections, of both families."""
    return [Asked(f"{YOUNG // 2} young tcp v{n.fam}", flows.echo(
        near.host, far.host, fam=n.fam, to=far.address(n), pace_us=50000,
        source=near.served.get(n.fam), busy=YOUNG // 2)) for n in BOTH]


def entries(host, flow):
    """What the host's daemon lists of it, however much that is."""
    found = []
    for e in host.daemon.list():
        near, far = e["identity"]["local"], e["identity"]["remote"]
        if host is flow.server:
            near, far = far, near
        if (e["proto"] == flow.proto and far["addr"] == flow.far_addr and
                far["port"] == flow.server_port and
                (flow.many > 1 or near["port"] == flow.port)):
            found.append(e)
    return found


def reasons(flow):
    """What the two lists say of a flow that is dead: reasons, or in brackets
    what they say instead. Of many, those without one may be alive."""
    found = set()
    for host in flow.client, flow.server:
        listed = entries(host, flow)
        found |= {e["reason"] or f"({e['state']})" for e in listed
                  if e["reason"] or flow.many == 1}
        if len(listed) < flow.many:
            found.add("(not listed)")
    return sorted(found or {"(no reason)"})


def protected(many, timeout):
    """Waits until both ends own each, or say that it will not be. Returns
    the names of those that they do not own, with the reasons."""
    end = time.monotonic() + timeout
    left = list(many)
    while left and time.monotonic() < end:
        left = [t for t in left if not all(
            [e["state"] for e in entries(h, t.flow)] == ["protected"]
            for h in (t.flow.client, t.flow.server))]
        if left and all(FINAL & set(reasons(t.flow)) for t in left):
            break
        if left:
            time.sleep(0.1)
    return {t.name: reasons(t.flow) for t in left}


def dump(path, what):
    with open(path, "w") as f:
        json.dump(what, f)
