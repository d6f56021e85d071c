# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may own a flow: boxes that do not carry it as it is, and thieves."""
import contextlib
import os
import signal
import socket
import threading
import time
from types import SimpleNamespace

from flows import Pair, echo, udp
from interop import Speaker, apart
from lab import check, wait_until
from scenario import Net, routed, scenario

if Speaker:
    import sacip
    from sacip import REASONS, Key, message
    from speaker import Flow, owned

    # its public key begins with two zeros: whoever has it offers
    LOWEST = Key((923552).to_bytes(32, "little"))

BOX = """
table inet box {
    chain forward {
        type filter hook forward priority 0
        RULE
    }
}
"""


def box(router, rule):
    router.run("nft", "-f", "-", input=BOX.replace("RULE", rule))


def reasons(lab, flow):
    found = set()
    for h in flow.client, flow.server:
        e = lab.entry(h, flow)
        check(e["state"] == "tracked", f"{h.name} has {flow} as {e['state']}")
        found.add(e["reason"])
    return found


@scenario(fam=(4, 6))
def a_path_that_rewrites_numbers_is_named(lab, n):
    """A box gives back time stamps of its own, once there is a connection."""
    client, router, server = routed(lab, n)
    flow = echo(client, server, fam=n.fam)
    box(router, "tcp option timestamp tsecr set 1")
    lab.daemons(client, server)
    wait_until("both ends say so", lambda: reasons(lab, flow) ==
               {"rewritten"}, 10)
    # what has no such numbers is not concerned
    other = udp(client, server, fam=n.fam)
    lab.protected(other)
    for f in flow, other:
        f.goes_on().finish()


@scenario(fam=(4, 6))
def a_path_that_drops_what_it_does_not_know_is_named(lab, n):
    """A box passes no option but those of old, and no datagrams like ours."""
    client, router, server = routed(lab, n)
    box(router, "tcp flags & ack == ack @th,160,16 0xfe16 drop\n"
        "udp length 32 @th,64,32 0xd35ac1b0 drop")
    lab.daemons(client, server)
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    for f in flows:
        wait_until("both ends say so", lambda f=f: reasons(lab, f) ==
                   {"proxy"}, 15)
    sent = [h.daemon.counter("proofs_sent") for h in (client, server)]
    time.sleep(3)  # it is not tried again soon, whoever asks
    check(sent == [h.daemon.counter("proofs_sent") for h in (client, server)],
          "it goes on")
    for f in flows:
        f.goes_on().finish()


TRANSPARENT = 19  # IP_TRANSPARENT
INTERCEPT = """
table ip proxy {
    chain prerouting {
        type filter hook prerouting priority mangle
        meta l4proto tcp socket transparent 1 meta mark set 1 accept
        tcp dport PORT tproxy to :9 meta mark set 1 accept
    }
}
"""


class Proxy:
    """Ends connections in a router, and makes others from the same address
    and port to where they went: neither host can tell by the tuples."""

    def __init__(self, router, port):
        self.router = router
        router.run("nft", "-f", "-", input=INTERCEPT.replace("PORT",
                                                             str(port)))
        router.run("ip", "rule", "add", "fwmark", "1", "lookup", "100")
        router.run("ip", "route", "add", "local", "default", "dev", "lo",
                   "table", "100")
        self.taken, self.made = [self.socket(("0.0.0.0", 9))], 0
        self.taken[0].listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def socket(self, at):
        s = self.router.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_IP, TRANSPARENT, 1)
        s.bind(at)
        return s

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, client = self.taken[0].accept()
                far = self.socket(client)
                far.connect(near.getsockname())
                self.taken += near, far
                self.made += 1
                for a, b in (near, far), (far, near):
                    threading.Thread(target=self.carry, args=(a, b),
                                     daemon=True).start()

    @staticmethod
    def carry(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    def close(self):
        for s in self.taken:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


@scenario()
def a_proxy_in_between_is_named(lab):
    """Two connections where both hosts see one: neither may move."""
    n = Net(4)
    client, router, server = routed(lab, n)
    proxy = Proxy(router, 7001)
    lab.daemons(client, server)
    flow = echo(client, server)
    check(flow.server_port == 7001, f"its port is {flow.server_port}")
    wait_until("it is in between", lambda: proxy.made, 5)
    wait_until("both ends say so", lambda: reasons(lab, flow) == {"proxy"}, 15)
    flow.goes_on().finish()
    proxy.close()


class Claims:
    """What a thief says, and hears, of a flow."""

    def __init__(self, speaker, flow):
        self.s, self.flow, self.far = speaker, flow, speaker.session_far

    def say(self, flow_id, proof):
        f = self.flow
        m = message("FLOWS", batch=int.from_bytes(os.urandom(4), "big"),
                    part=0, parts=1, flags=0, flows=[SimpleNamespace(
                        flow_id=flow_id, track=1, seq=0, at=f.near[0], flags=0,
                        proto=f.proto, src=f.near, dst=f.far, proof=proof)])
        self.s.send(m)
        return m.batch

    def answers(self):
        return [e for m in self.s.heard if m.name == "FLOWS_ACK"
                for e in m.flows]


def thief(host, own, far, **how):
    """Beside another speaker: from a port of its own, and blind."""
    s = Speaker(host, port=1020, **how)
    s._proves = lambda p, nonce: None
    with s.lock:
        s.ask(own, (far, sacip.PORT))
    s.until("a session", lambda: s.session and not s.asked and
            "FIN" not in s.timers)
    s.session_far = far, sacip.PORT
    s.path = own, s.session_far
    s.send_to = s.session_far
    return s


@scenario()
def a_thief_proves_nothing_and_delays_nobody(lab):
    """Of the flows of its own host, which another key is the end of: it can
    send on them, from the right address, and does not see what comes.
    Nobody moves here: badpeers has a thief beside an honest pair."""
    n = Net(4)
    client, server = apart(lab, n)
    server.saciped()
    flows = [echo(client, server), udp(client, server)]
    t = thief(client, n.ip(1, 2), n.ip(1, 3), key=LOWEST)
    check(t.offers(), "a lower key")
    claims = [Claims(t, t.knows(f)) for f in flows]
    honest = Speaker(client)
    honest.connect(n.ip(1, 2), n.ip(1, 3))
    began = time.monotonic()
    mine = None
    for i in range(300):
        for k, c in enumerate(claims):
            fresh = os.urandom(16)
            c.say(1 + k, (1, t.tag(fresh)))
            if i % 3 == 0:
                with t.lock:
                    t.emit(c.flow, fresh)
            # what it has sent itself, and anything
            c.say(1 + k, (2, (fresh if i % 2 else os.urandom(16),
                              (0, 0, 0, 0))))
        if i == 150:
            at = time.monotonic()
            mine = owned(honest, *flows)
            took_s = time.monotonic() - at
            check(took_s < 2.5, f"that took {took_s:.1f} s")
        time.sleep(0.01)
    got = {(e.reason, e.proof[0]) for e in claims[0].answers()}
    names = {list(REASONS)[r] for r, _ in got}
    check((REASONS["none"], 2) not in got and names <= {
        "none", "retry", "limit", "flow_owned"}, f"answers: {got}")
    check({"retry", "limit", "flow_owned"} <= names, f"answers: {names}")
    check(all(f.confirmed for f in mine), "the owner has lost it")
    for f in flows:
        f.goes_on().finish()
    return f"{took_s:.2f} s beside it; {time.monotonic() - began:.0f} s in all"


@scenario()
def a_watcher_keeps_nobody_from_owning(lab):
    """At the address of one end, with another key: it sees each nonce that
    comes there, and names it to who has sent it before that end does."""
    n = Net(4)
    client, server = apart(lab, n)
    server.saciped()
    flows = [echo(client, server), udp(client, server)]
    t = thief(client, n.ip(1, 2), n.ip(1, 3), key=LOWEST)
    claims = [Claims(t, t.knows(f)) for f in flows]
    named = []

    def name(p, nonce):
        for c in claims:
            if (p.src, p.sport, p.dst, p.dport) == (*c.flow.far, *c.flow.near):
                c.say(7, (2, (nonce, t.numbers(p))))
                named.append(nonce)
    t._proves, t.emit = name, lambda *a: False  # it sends nothing on them
    honest = Speaker(client)
    honest.connect(n.ip(1, 2), n.ip(1, 3))
    proves = honest._proves

    def last(p, nonce):
        if p.src == n.ip(1, 3):
            wait_until("it has been named", lambda: nonce in named, 5)
        proves(p, nonce)
    honest._proves = last
    owned(honest, *flows)
    check(len(named) >= 2, f"{len(named)} nonces came")
    won = [e for e in claims[0].answers() if e.proof[0] == 2]
    check(not won, f"the watcher was told {won}")
    for f in flows:
        f.goes_on().finish()


@scenario()
def an_ask_tells_nothing(lab):
    """What others have with a host, to a key that was not met at their
    address; and to one that was, no more than whether an offer will follow.
    One question each: there is nothing that a pair that moves could notice."""
    n = Net(4)
    client, server, victim = apart(lab, n, f"victim eth0 {n.cidr(1, 7)} lan")
    server.saciped()
    flow = echo(client, server)
    port = flow.server_port
    theirs = Pair(victim, n.ip(1, 7), 40000, server, n.ip(1, 3), port,
                  served=True).goes_on()
    s = Speaker(client)
    s.connect(n.ip(1, 2), n.ip(1, 3))
    wait_until("the server has seen both", lambda: len(
        server.daemon.list()) == 2, 5)
    there = Flow(sacip.TCP, (n.ip(1, 7), 40000), (n.ip(1, 3), port))
    nowhere = Flow(sacip.TCP, (n.ip(1, 7), 40001), (n.ip(1, 3), port))
    own = s.knows(flow)
    said = {}
    for f in there, nowhere, own:
        for flow_id, proof in (0, (0, None)), (5, (0, None)), (
                5, (1, bytes(16))), (5, (2, (bytes(16), (0,) * 4))):
            m = message("FLOWS", batch=1, part=0, parts=1, flags=0, flows=[
                SimpleNamespace(flow_id=flow_id, track=1, seq=0,
                                at=f.near[0], flags=0, proto=f.proto,
                                src=f.near, dst=f.far, proof=proof)])
            s.answers["FLOWS"] = lambda m: None
            got = [e for m in s.replies(m) if m.name == "FLOWS_ACK"
                   for e in m.flows]
            said.setdefault(f.near, []).append([
                (e.reason, e.proof[0], e.track) for e in got])
    check(said[there.near] == said[nowhere.near] ==
          [[(REASONS["retry"], 0, 0)]] * 4,
          f"what is there and what is not: {said}")
    check(all(p == 0 for _, p, _ in said[own.near][0]),
          f"an ask was answered with a proof: {said}")
    for f in theirs, flow:
        f.goes_on()
    theirs.close()
    flow.finish()


def beside(lab, comes):
    """A key at the server that is no end of the flow is asked first, and says
    so; or that it is, and answers nothing on it. Another key comes there, or
    waits to be called, and asks for nothing."""
    n = Net(4)
    server, client = apart(lab, n, speaks="server")
    honest = Speaker(server)
    answers, honest._init = honest._init, lambda *a: None
    client.saciped()
    flow = echo(client, server)
    wait_until("the client has seen it", lambda: lab.entries(client, flow), 5)
    t = thief(server, n.ip(1, 3), n.ip(1, 2), key=LOWEST)
    honest.knows(flow)
    if not comes:
        t.knows(flow)
    wait_until("it has been asked", lambda: any(
        m.name in ("FLOWS", "FLOWS_ACK") for m in t.heard), 10)
    honest._init = answers
    client.daemon.write_conf(initiate=[n.any])
    client.daemon.process.signal(signal.SIGHUP)
    began = time.monotonic()
    if comes:
        honest.connect(n.ip(1, 3), n.ip(1, 2))
    wait_until("the other one has it", lambda: lab.entry(client, flow)[
        "state"] == "protected", 20)
    wait_until("it knows that", lambda: honest.flows[0].confirmed, 5)
    flow.goes_on().finish()
    return f"after {time.monotonic() - began:.1f} s"


@scenario()
def a_key_that_came_first_keeps_no_other_from_being_asked(lab):
    return beside(lab, True)


@scenario()
def a_key_at_another_port_keeps_no_other_from_being_met(lab):
    return beside(lab, False)
