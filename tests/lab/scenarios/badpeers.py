# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer gone bad, beside an honest pair that moves: what it gets, what the
pair notices, and how much goes to whom."""
import contextlib
import os
import socket
import threading
import time
from types import SimpleNamespace

import packets
from flows import Pair, echo
from interop import Speaker, apart
from lab import CONTROL_PORT, check, plain, wait_until
from scenario import Net, scenario

with contextlib.suppress(ImportError):
    import sacip
    from sacip import message
    from speaker import Flow, owned

N = Net(4)
SERVER, PEER, VICTIM = N.ip(1, 3), N.ip(1, 6), N.ip(1, 7)
MOVES = 3
DONE = 36
LATE_S = 0.3
REST_S = 0.3  # before each move
SLACK_MS = 2000  # beyond twice the calm one: collapses, not noise


class Trial:
    """
        client .1.2, .1.20 ... --+-- lan --+-- .1.3 server, .1.20 ...
                                 |         |
                           peer .1.6    .1.7 victim, who runs nothing
    The client's flow is the honest one; the speaker is the bad peer, that
    has a flow of its own."""

    def __init__(self, lab, **conf):
        self.lab, self.next = lab, 20
        self.client, self.server, self.peer, self.victim = apart(
            lab, N, f"peer eth0 {PEER}/24 lan", f"victim eth0 {VICTIM}/24 lan")
        lab.daemons(self.client, self.server, **conf)
        self.flow = echo(self.client, self.server)
        self.own = echo(self.peer, self.server, pace_us=10000)
        self.s = Speaker(self.peer)
        self.s.connect(PEER, SERVER)
        self.mine = owned(self.s, self.own)[0]
        lab.protected(self.flow)
        self.cap = lab.capture(self.server, "eth0", f"udp port {CONTROL_PORT}",
                               snap=64)
        self.mac = self.server.mac("eth0")
        self.cidrs = {h: f"{h.address()}/24" for h in (self.client,
                                                        self.server)}

    def moves(self, mover, times=MOVES):
        """The longest gap and time to DONE of some moves, in ms."""
        gaps, dones = [], []
        for _ in range(times):
            time.sleep(REST_S)
            new = N.cidr(1, self.next)
            self.next += 1
            self.flow.forget_gap()
            began = time.time_ns()
            mover.replace("eth0", self.cidrs[mover], new)
            self.cidrs[mover] = new
            wait_until(f"DONE to {new}", lambda: self.done(new, began), 20)
            dones.append((self.done(new, began) - began) / 1e6)
            self.flow.goes_on()
            gaps.append(self.flow.gap_ms)
        return max(gaps), max(dones)

    def done(self, new, began):
        self.cap.read()
        for f, t in zip(reversed(self.cap.frames), reversed(self.cap.times)):
            if t < began:
                return None
            if f[42] == DONE and packets.text(f[30:34]) == plain(new):
                return t
        return None

    def bytes(self, addr):
        """Of datagrams from it, and to it, with their headers."""
        raw, sums = packets.raw(addr), [0, 0]
        for f in self.cap.read():
            for way in 0, 1:
                if f[26 + 4 * way:30 + 4 * way] == raw:
                    sums[way] += int.from_bytes(f[16:18], "big")
        return sums

    def used(self):
        """CPU in ms and memory in KiB of the server's daemon."""
        pid = self.server.daemon.process.pid
        with open(f"/proc/{pid}/stat") as f:
            t = f.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{pid}/status") as f:
            kb = next(int(x.split()[1]) for x in f if x.startswith("VmRSS"))
        return (int(t[11]) + int(t[12])) * 1000 // os.sysconf(
            "SC_CLK_TCK"), kb

    def against(self, each, rate, mover=None, times=MOVES):
        """The honest pair moves, then once more while each(i) is called that
        often a second; what became of it as text."""
        mover = mover or self.client
        self.moves(mover, 1)  # the first one is always slower
        calm, cpu = self.moves(mover), self.used()
        with going_on(each, rate) as count:
            storm = self.moves(mover, times)
        now = self.used()
        for what, a, b in zip(("gap", "time to DONE"), calm, storm):
            check(b <= 2 * a + SLACK_MS, f"{what}: {a:.0f} ms, {b:.0f} ms "
                  f"beside the bad peer")
        self.flow.goes_on()
        from_, to = self.bytes(PEER)
        return (f"gap {calm[0]:.0f} -> {storm[0]:.0f} ms, DONE {calm[1]:.0f} "
                f"-> {storm[1]:.0f} ms; {count[0]} times; CPU "
                f"{now[0] - cpu[0]} ms, {now[1] - cpu[1]:+} KiB; peer sent "
                f"{from_}, got {to} bytes")

    def types(self):
        """What went to the peer, by type: number and bytes."""
        found = {}
        for f in self.cap.read():
            if f[30:34] == packets.raw(PEER):
                n, size = found.get(f[42], (0, 0))
                found[f[42]] = n + 1, size + int.from_bytes(f[16:18], "big")
        return "; to it, by type: " + ", ".join(
            f"{n} {sacip.NAMES.get(k, k)} {b}" for k, (n, b) in found.items())

    def nothing_more_to(self, *addrs):
        """Than came from each: nobody of them has answered anything."""
        both = [self.bytes(a) for a in addrs]
        for a, (from_, to) in zip(addrs, both):
            check(to <= from_, f"{a} got {to} bytes, {from_} came from it")
        return "; {} from there, {} to there".format(*map(sum, zip(*both)))

    def forged(self, m, src):
        """A message of the peer's from an address that is not its own."""
        with self.s.lock:
            data = self.s.session.seal(m, (src, CONTROL_PORT),
                                       (SERVER, CONTROL_PORT))
        self.s.raw.packet(self.mac, packets.ip(
            src, SERVER, packets.UDP, packets.udp(CONTROL_PORT, CONTROL_PORT,
                                                  data)))

    def a_move(self, seq, to, **fields):
        ids = [self.mine.id]
        return message("MOVE", **dict(dict(
            track=1, seq=seq, from_=PEER, to=to, flags=0, count=1,
            digest=sacip.digest(ids), part=0, parts=1, ports=[]), **fields))


@contextlib.contextmanager
def going_on(each, rate):
    """each(0), each(1) ... at that rate, in a thread."""
    count, end, wrong = [0], threading.Event(), []

    def run():
        began = time.monotonic()
        try:
            while not end.wait(0.005):
                due = (time.monotonic() - began) * rate
                while count[0] < due and not end.is_set():
                    each(count[0])
                    count[0] += 1
        except Exception as e:
            wrong.append(e)
    t = threading.Thread(target=run, daemon=True)
    t.start()
    try:
        yield count
    finally:
        end.set()
        t.join()
    for e in wrong:
        raise e


@scenario(long=True)
def bad_peer_claims_others_flows(lab):
    """With guesses at the sequence number, from an address that is not the
    flow's: it is told `retry`, and never owns the flow."""
    t = Trial(lab)
    theirs = Flow(sacip.TCP, (t.flow.near_addr, t.flow.port),
                  (t.flow.far_addr, t.flow.server_port))
    theirs.confirmed = True  # so it is listed without a look for a proof

    def each(i):
        theirs.id = 1000 + i
        m = t.s.flows_of([theirs])
        m.flows[0].proof = 1, i * 131072 % (1 << 32)
        t.s.send(m, PEER, (SERVER, CONTROL_PORT))
    said = t.against(each, 200)
    reasons = [e.reason for m in t.s.heard if m.name == "FLOWS_ACK"
               for e in m.flows if e.flow_id >= 1000 and e.flow_id < 1 << 32]
    check(reasons and all(reasons), f"answers to claims: {set(reasons)}")
    return said + f"; reasons {sorted(set(reasons))}"


@scenario(long=True)
def bad_peer_moves_to_a_victim(lab):
    """It names the address of a host that does not take part, and sends
    from there: no more goes to that than came from it."""
    t = Trial(lab)

    def each(i):
        t.forged(t.a_move(1 + i // 4, VICTIM), VICTIM)
        t.forged(message("PROBE", token=bytes(16)), VICTIM)
    return t.against(each, 50) + t.nothing_more_to(VICTIM)


@scenario(long=True)
def bad_peer_lists_flows_without_end(lab):
    """A complete list of 8,192 parts with 14 flows each, as far as it gets:
    30,000 to 45,000 flows in the time of the moves."""
    t = Trial(lab)
    m = t.s.flows_of([t.mine] * 14, flags=1)
    for k, e in enumerate(m.flows):
        e.src, e.flow_id = (PEER, 1024 + k), 1 << 40 | k
    body = bytearray(sacip.put_body(m))
    body[6:8] = (8192).to_bytes(2, "big")

    def each(i):
        body[0:4] = (1 + i // 8192).to_bytes(4, "big")
        body[4:6] = (i % 8192).to_bytes(2, "big")
        with t.s.lock:
            t.s.put(t.s.session.seal_raw(16, bytes(body), (
                PEER, CONTROL_PORT), (SERVER, CONTROL_PORT)), PEER,
                (SERVER, CONTROL_PORT))
    return t.against(each, 2000)


def each_type(t):
    """A well-formed message of each type, and nothing true in it."""
    one = [SimpleNamespace(flow_id=7)]
    head = {"track": 1, "seq": 1}
    place = dict(t.s.place(t.mine), flow_id=7)
    sync = {"own": [SimpleNamespace(**head, locator=PEER)], "theirs": [
        SimpleNamespace(track=1, committed=0)], "flow_count": 1,
        "digest": bytes(16)}
    return [message("FLOW_END", flows=one), message("FLOW_END_ACK", flows=one),
             message("PROBE", token=bytes(16)),
             message("PROBE_ACK", token=bytes(16)), t.s.flows_of([t.mine]),
             message("FLOWS_ACK", batch=1, part=0, parts=1, flows=[
                 SimpleNamespace(**place, reason=0, proof=(0, None))]),
             t.a_move(1, PEER), message(
                 "ACCEPT", **head, challenge=bytes(16), lease_s=30, flows=[]),
             message("REFUSE", **head, reason=3, flows=[]),
             message("PROVE", **head, challenge=bytes(16), to=PEER, flows=[]),
             message("DONE", **head), message("SYNC", **sync),
             message("SYNC_ACK", **sync)]


@scenario(timeout=90, long=True)
def bad_peer_floods_with_each_type(lab):
    """1,000 a second of each in turn, all of them well-formed."""
    t = Trial(lab)
    kinds, far = each_type(t), (SERVER, CONTROL_PORT)
    asked = sacip.Initiator(t.s.key)

    def each(i):
        m = kinds[i // 250 % (len(kinds) + 1) - 1]
        if i // 250 % (len(kinds) + 1) == 0:
            asked.e = sacip.Key()
            t.s.put(asked.init(), PEER, far)
        else:
            if m.name == "MOVE":
                m.seq = i + 1
            t.s.send(m, PEER, far)
    return t.against(each, 1000, times=10)


@scenario(long=True)
def bad_peer_never_answers(lab):
    """The server moves, which both must hear of."""
    t = Trial(lab)
    return t.against(lambda i: t.s.answers.clear(), 1, t.server) + t.types()


@scenario(long=True)
def bad_peer_answers_late(lab):
    """Each time, when it has been asked again."""
    t = Trial(lab)

    def late(work):
        def run(m):
            with t.s.lock:
                work(m)
        return lambda m: threading.Timer(LATE_S, run, [m]).start()

    def each(i):
        if not i:
            t.s.answers.update({n: late(w) for n, w in t.s.answers.items()})
    return t.against(each, 1, t.server) + t.types()


@scenario(long=True)
def bad_peer_flips_between_two_addresses(lab):
    """A hundred times a second, and proves each."""
    t = Trial(lab)
    t.peer.add("eth0", f"{N.ip(1, 16)}/24")
    t.s.moved(N.ip(1, 16))
    t.s.steer = lambda: None

    def each(i):
        t.s.move((PEER, N.ip(1, 16))[i % 2])
    said = t.against(each, 100)
    return said + f"; {len(t.s.own[1].done)} DONE"


@scenario(long=True)
def bad_peer_announces_a_thousand(lab):
    """Numbers, each at the next of 150 addresses where it is not."""
    t = Trial(lab)
    them = [N.ip(1, k) for k in range(100, 250)]
    t.victim.ip(*(f"address add {a}/24 dev eth0" for a in them))

    def each(i):
        to = them[i % len(them)]
        t.forged(t.a_move(1 + i, to), to)
    said = t.against(each, 2000)
    check(t.s.session.counter > 1000, f"only {t.s.session.counter} were sent")
    return said + t.nothing_more_to(*them)


@scenario(long=True)
def bad_peer_sends_each_type_from_elsewhere(lab):
    """Once each, from addresses that have answered nothing: none of them gets
    more than came from it."""
    t = Trial(lab)
    kinds = each_type(t)
    them = [N.ip(1, 100 + k) for k in range(len(kinds))]
    t.victim.ip(*(f"address add {a}/24 dev eth0" for a in them))
    for m, a in zip(kinds, them):
        if m.name == "MOVE":
            m.to = a
        t.forged(m, a)
    time.sleep(2)  # what is repeated is, by then
    t.nothing_more_to(*them)
    return ", ".join(f"{m.name} {t.bytes(a)[0]} {t.bytes(a)[1]}"
                     for m, a in zip(kinds, them))


@scenario(long=True)
def bad_peer_asks_for_a_tuple_in_use(lab):
    """By a host that the daemon has no room to look after."""
    t = Trial(lab, max_flows=2)
    theirs = Pair(t.victim, VICTIM, t.own.port, t.server, SERVER,
                  t.own.server_port, served=True).goes_on()
    wait_until("there is no room for it", lambda: t.server.daemon.counter(
        "flows_full") > 0, 5)
    t.forged(t.a_move(1, VICTIM), VICTIM)

    def answers():
        return {f[42] for f in t.cap.read()
                if f[30:34] == packets.raw(VICTIM)}
    wait_until("an answer", answers, 3)
    check(sacip.MESSAGES["REFUSE"][0] in answers(), f"types {answers()}")
    theirs.goes_on().close()


@scenario(long=True)
def peer_has_lost_its_memory(lab):
    """The server has moved; the peer is there again with its key and nothing
    else, and says so: that comes to rest within seconds."""
    t = Trial(lab)
    t.moves(t.server, 1)
    t.s.close()
    s = Speaker(t.peer, key=t.s.key)
    s.connect(PEER, plain(t.cidrs[t.server]))
    asked = []
    for rest_s in 4, 1.5:
        time.sleep(rest_s)
        asked.append(sum(m.name == "MOVE" for m in s.heard))
    check(asked[0] == asked[1] < 20, f"{asked} MOVEs by then")
    return f"{asked[0]} MOVEs"
