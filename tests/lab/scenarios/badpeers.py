# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer gone bad, beside an honest pair that moves: what it gets, what the
pair notices, and how much goes to whom."""
import base64
import contextlib
import os
import select
import socket
import struct
import sys
import threading
import time
from multiprocessing import Value
from statistics import median
from types import SimpleNamespace

import ledger
import packets
from flows import Pair, echo, udp
from claims import Claims, thief
from interop import Speaker, apart
from lab import CONTROL_PORT, check, plain, wait_until
from scenario import Net, scenario

with contextlib.suppress(ImportError):
    import sacip
    from sacip import message
    from claims import LOWEST
    from speaker import Flow, Half, owned

N = Net(4)
SERVER, PEER, VICTIM = N.ip(1, 3), N.ip(1, 6), N.ip(1, 7)
MOVES, MORE = 10, 5  # and so many times as many, where chance may have it
ACCEPT, DONE = 33, 36
PEER_BURST, PEER_EACH_S = 64, 8  # moves of one peer that are looked at
LATE_S = 0.3
REST_S = 0.3  # before each move
NOISE_MS = 10  # beyond twice
PART = 256  # flows in one transaction, that another peer may wait for
RATE = 10000
FLOOD = 1000  # that came in a second, at least, where it is a flood
CROWD, MANY, TRACKS, IDLE = 3000, 1500, 60, 700
HOLD_S = 30  # by the word of a SYNC
JUMP = 1 << 32


class Trial:
    """
        client .1.2, .1.20 ... --+-- lan --+-- .1.3 server, .1.20 ...
                                 |         |
                           peer .1.6    .1.7 victim, who runs nothing
    The client's flow is the honest one; the speaker is the bad peer, that
    has a flow of its own."""

    drain = VICTIM  # takes what is sent in peace
    visitors = ()  # addresses that connect to the server by themselves
    more = ()  # lines of the network

    def __init__(self, lab, key=None, **conf):
        self.lab, self.next, self.came, self.key = lab, 20, [], key
        self.client, self.server, self.peer, self.victim, *self.others = apart(
            lab, N, f"peer eth0 {PEER}/24 lan", f"victim eth0 {VICTIM}/24 lan",
            *self.more)
        lab.daemons(self.client, self.server, **conf)
        self.flow = echo(self.client, self.server)
        self.mac = self.server.mac("eth0")
        self.cidrs = {h: f"{h.address()}/24" for h in (self.client,
                                                        self.server)}
        self.honest = set(map(plain, self.cidrs.values()))
        self.answering = set()
        control, own = f"udp port {CONTROL_PORT}", self.flow.server_port
        self.cap = lab.capture(self.server, "eth0", control, snap=64)
        self.rest = lab.capture(
            self.server, "eth0", f"(ip or ip6) and not ether multicast and "
            f"not icmp6 and not {control} and not port {own}", snap=64)
        self.begin_bad()
        lab.protected(self.flow)
        lab.at_end.append(self.account)

    def begin_bad(self):
        self.own = echo(self.peer, self.server, pace_us=10000)
        self.s = Speaker(self.peer, key=self.key)
        self.s.connect(PEER, SERVER)
        self.mine = owned(self.s, self.own)[0]

    def move(self, mover):
        """The longest gap and the time to DONE, in ms."""
        time.sleep(REST_S)
        new = N.cidr(1, self.next)
        self.next += 1
        self.flow.forget_gap()
        began = time.time_ns()
        mover.replace("eth0", self.cidrs[mover], new)
        self.cidrs[mover] = new
        self.honest.add(plain(new))
        wait_until(f"DONE to {new}", lambda: self.done(new, began), 20)
        took = (self.done(new, began) - began) / 1e6
        self.flow.goes_on()
        return self.flow.gap_ms, took

    def done(self, new, began, cap=None):
        cap = cap or self.cap
        cap.read()
        for f, t in zip(reversed(cap.frames), reversed(cap.times)):
            if t < began:
                return None
            if f[42] == DONE and packets.text(f[30:34]) == plain(new):
                return t
        return None

    def answers(self):
        """Addresses that the peer is at and hears at: only what comes from
        there can be the answer to a challenge."""
        self.answering |= set(self.s.sockets)
        return self.answering

    def account(self):
        """Of every address that is not the honest pair's: no more went there
        than had come, at any moment at which it was not valid; of what does
        not take part, the packets of flows count as well. As text: all that
        came from the peer's addresses and went there, and of the others."""
        answer, sums = self.answers(), [[0, 0], [0, 0]]
        for cap in self.cap, self.rest:
            for addr, b in ledger.books(cap, self.mac, answer).items():
                if addr in self.honest or cap is self.rest and (
                        addr in answer or addr in self.visitors):
                    continue
                check(b.unpaid <= 0, f"{addr} got {b.unpaid:.0f} bytes more "
                      f"than came from it ({cap.what}): {b.all_went} in all, "
                      f"{b.all_came} came")
                sums[addr not in answer][0] += b.all_came
                sums[addr not in answer][1] += b.all_went
        (came, went), (others_came, others_went) = sums
        return (f"peer sent {came}, got {went} bytes, others {others_came} "
                f"and {others_went}")

    def used(self):
        """CPU in ms and memory in KiB of the server's daemon."""
        pid = self.server.daemon.process.pid
        with open(f"/proc/{pid}/stat") as f:
            t = f.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{pid}/status") as f:
            kb = next(int(x.split()[1]) for x in f if x.startswith("VmRSS"))
        return (int(t[11]) + int(t[12])) * 1000 // os.sysconf(
            "SC_CLK_TCK"), kb

    def against(self, each, rate, mover=None, apart=True, least=0,
                waits_ms=lambda: 0, peace=lambda: None, beside=lambda: None):
        """The honest pair moves ten times in peace and ten times while each(i)
        is called that often a second, in turn, so that whatever else the
        machine does meets both; what became of it as text.

        Allowed is twice the median of the ten longest gaps, and of the ten
        times to DONE, and NOISE_MS, as these are 5 to 15 ms and who makes the
        storm takes part of the processor that the pair has too. Where that is
        not enough it is done again, MORE times in all: a machine that stands
        still for 100 ms when others need it does so now and then, and harm is
        done each time. waits_ms(): for what another peer's work may take, in
        one turn of it.

        apart: in a process of its own, while the speaker hears nothing. It
        takes most of a processor, so in peace it sends as much to the victim.
        least: the last storm lasts until it has blown so often. peace() is
        called before each move in peace, beside() in each storm."""
        mover = mover or self.client
        self.move(mover)  # the first one is always slower
        calm, storm, cpu = [], [], self.used()
        with (Storm if apart else Going)(self, each, rate) as s:
            while not calm or (len(calm) < MORE * MOVES and
                               too_long(calm, storm, waits_ms())):
                for i in range(MOVES):
                    peace()
                    with s.blank():
                        calm.append(self.move(mover))
                    with s, self.counted():
                        beside()
                        if not storm[MOVES - 1:] and i == MOVES - 1:
                            wait_until(f"it is the {least}th time",
                                       lambda: s.so_often() >= least, 150)
                        storm.append(self.move(mover))
        wrong = too_long(calm, storm, waits_ms())
        check(not wrong, f"{wrong}: in peace {calm}, beside the bad peer "
              f"{storm}")
        now = self.used()
        said = [f"{what} {median(a):.1f} -> {median(b):.1f} ms, longest "
                f"{max(a):.0f} -> {max(b):.0f}" for what, a, b in zip(
                    ("gap", "DONE"), zip(*calm), zip(*storm))]
        self.flow.goes_on()
        self.blown = s.count
        return (f"{', '.join(said)} in {len(calm)} moves; {s.count} times, "
                f"{s.rate():.0f}/s; CPU {now[0] - cpu[0]} ms, "
                f"{now[1] - cpu[1]:+} KiB; {self.account()}")

    @contextlib.contextmanager
    def counted(self):
        """Datagrams that the server's daemon has taken in a second."""
        began, before = time.monotonic(), self.taken()
        yield
        self.came.append((self.taken() - before) / (time.monotonic() - began))

    def taken(self):
        return self.server.daemon.counter("rx_frames")

    def was_a_flood(self):
        """Others may keep the machine busy in most of the storms."""
        check(max(self.came) >= FLOOD, f"came in a second: {self.came}")
        return f"; {max(self.came):.0f}/s came at best"

    def types(self):
        """What went to the peer, by type: number and bytes."""
        found = {}
        for f in self.cap.read():
            if f[30:34] == packets.raw(PEER):
                n, size = found.get(f[42], (0, 0))
                found[f[42]] = n + 1, size + int.from_bytes(f[16:18], "big")
        return "; to it, by type: " + ", ".join(
            f"{n} {sacip.NAMES.get(k, k)} {b}" for k, (n, b) in found.items())

    def forged(self, m, src):
        """A message of the peer's from an address that is not its own."""
        with self.s.lock:
            data = self.s.session.seal(m, (src, CONTROL_PORT),
                                       (SERVER, CONTROL_PORT))
        self.s.raw.packet(self.mac, packets.ip(
            src, SERVER, packets.UDP, packets.udp(CONTROL_PORT, CONTROL_PORT,
                                                  data)))

    def a_move(self, seq, to, **fields):
        ids = self.s.members(1, "track")
        return message("MOVE", **dict(dict(
            track=1, seq=seq, from_=PEER, to=to, flags=0, count=len(ids),
            digest=sacip.digest(ids), part=0, parts=1, ports=[]), **fields))

    def datagrams(self, near, far, track=1):
        """A flow of the speaker's that only the server has a socket for."""
        sock = self.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(far)
        sock.connect(near)
        f = Flow(sacip.UDP, near, far)
        f.sock, f.track = sock, track
        with self.s.lock:
            self.s.flows.append(f)
            self.s.own.setdefault(track, Half(near[0]))
        return f

    def owns(self, flows, at_once=12):
        """So many at once, that the speaker is fast enough for."""
        for i in range(0, len(flows), at_once):
            for f in flows[i:i + at_once]:
                self.s.claim(f)
            for f in flows[i:i + at_once]:
                self.s.until("a flow is confirmed", lambda f=f: f.confirmed or
                             f not in self.s.timers and self.s.claim(f), 20)


def too_long(calm, storm, waits_ms):
    """Which of gap and DONE is, by the medians of the last ten moves."""
    calm, storm = calm[-MOVES:], storm[-MOVES:]
    return ", ".join(
        f"{what} {median(a):.1f} -> {median(b):.1f} ms" for what, a, b in zip(
            ("gap", "DONE"), zip(*calm), zip(*storm))
        if median(b) > 2 * median(a) + NOISE_MS + waits_ms)


class Going:
    """each(0), each(1) ... at that rate while it is entered, in a thread;
    entered once around all."""

    def __init__(self, trial, each, rate):
        self.trial, self.s = trial, trial.s
        self.each, self.wanted = each, rate
        self.count, self.on, self.on_s = 0, 0, 0.0
        self.wrong, self.rests = [], threading.Event()
        self.rests.set()

    def __enter__(self):
        self.on += 1
        if self.on == 1:
            self.begin()
        else:
            self.began = time.monotonic()
            self.blow(True)
        return self

    def __exit__(self, *_):
        self.on -= 1
        if self.on:
            self.blow(False)
            self.on_s += time.monotonic() - self.began
        else:
            self.end()

    def blank(self):
        """A storm that hurts nobody."""
        return contextlib.nullcontext()

    def rate(self):
        return self.count / self.on_s

    def so_often(self):
        return self.count

    def begin(self):
        self.go, self.over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def blow(self, on):
        """Off: waits for the last one, which may take its time."""
        (self.go.set if on else self.go.clear)()
        if not on:
            self.rests.wait()

    def run(self):
        try:
            while not self.over.is_set():
                if not self.go.wait(0.05):
                    continue
                self.rests.clear()
                began, n = time.monotonic(), 0
                while self.go.is_set():
                    due = (time.monotonic() - began) * self.wanted
                    while n < due and self.go.is_set():
                        self.each(self.count)
                        self.count, n = self.count + 1, n + 1
                    self.note(n / (time.monotonic() - began))
                    time.sleep(min(0.005, 10 / self.wanted))
                self.rests.set()
        except Exception as e:
            self.wrong.append(e)
        finally:
            self.rests.set()

    def note(self, rate):
        pass

    def end(self):
        self.over.set()
        self.thread.join()
        for e in self.wrong:
            raise e


RESTS, BLOWS, BLANK, OVER = range(4)


class Storm(Going):
    """The same in a process of its own, which a rate of 10,000 needs. The
    speaker is deaf meanwhile: it would be busier than those it attacks."""

    def begin(self):
        self.flag, self.shared = Value("b", RESTS), Value("Q", 0)
        with self.s.lock:  # whoever has it at the fork has it in the child
            self.pid = os.fork()
            if self.pid:
                return
            self.nice = os.nice(10)
            self.wall = self.trial.victim.mac("eth0")
            self.aim(packets.Injector, "packet", lambda send: lambda to, mac, p:
                     send(to, self.wall, p))
            self.aim(Speaker, "put", lambda send: lambda s, data, own, far:
                     send(s, data, own, (self.trial.drain, CONTROL_PORT)))
            self.aim(Speaker, "emit", lambda send: lambda *a: None)
            self.go = SimpleNamespace(is_set=self.blows, wait=self.wait)
            self.over = SimpleNamespace(is_set=lambda: self.flag.value == OVER)
            self.run()
            if self.wrong:
                print(f"# {self.wrong[0]!r}", file=sys.stderr)
            os._exit(bool(self.wrong))

    def aim(self, kind, name, elsewhere):
        """What this process sends goes elsewhere while it is blank."""
        there = getattr(kind, name)
        aside = elsewhere(there)
        setattr(kind, name, lambda *a: (aside if self.flag.value == BLANK
                                        else there)(*a))

    def blows(self):
        """What is called while it is blank is called again in earnest."""
        while self.flag.value == BLANK:
            began, n = time.monotonic(), 0
            while self.flag.value == BLANK:
                if n < (time.monotonic() - began) * self.wanted:
                    self.each(self.count + n)
                    n += 1
                else:
                    time.sleep(min(0.005, 10 / self.wanted))
        return self.flag.value == BLOWS

    def note(self, rate):
        """It stands for another host, and goes last as long as it is a storm
        all the same."""
        self.shared.value = self.count
        if rate < min(FLOOD, self.wanted / 2) and self.nice > -5:
            self.nice = os.nice(-5)

    def so_often(self):
        return self.shared.value

    def wait(self, s):
        self.shared.value = self.count
        time.sleep(s / 10)
        return self.blows()

    def blow(self, on):
        self.set(BLOWS if on else RESTS)

    @contextlib.contextmanager
    def blank(self):
        self.set(BLANK)
        try:
            yield
        finally:
            self.set(RESTS)

    def set(self, flag):
        if flag != RESTS:
            self.s.lock.acquire()
        self.flag.value = flag
        if flag == RESTS:
            self.s.lock.release()

    def end(self):
        self.flag.value = OVER
        _, status = os.waitpid(self.pid, 0)
        self.count = self.shared.value
        check(status == 0, f"the storm ended with {status}")


@scenario(timeout=120, alone=True, long=True)
def bad_peer_claims_others_flows(lab):
    """With receipts that it has made up, from an address that is not the
    flow's: it is told `retry`, and never owns the flow."""
    t = Trial(lab)
    theirs = Flow(sacip.TCP, (t.flow.near_addr, t.flow.port),
                  (t.flow.far_addr, t.flow.server_port))
    theirs.confirmed = True  # so it is listed without a look for a proof

    def each(i):
        theirs.id = 1000 + i
        m = t.s.flows_of([theirs])
        m.flows[0].proof = (1, os.urandom(16)) if i % 2 else (
            2, (os.urandom(16), (0, 0, 0, 0)))
        t.s.send(m, PEER, (SERVER, CONTROL_PORT))
    said = t.against(each, RATE)
    reasons = [e.reason for m in t.s.heard if m.name == "FLOWS_ACK"
               for e in m.flows if e.flow_id >= 1000 and e.flow_id < 1 << 32]
    check(reasons and all(reasons), f"answers to claims: {set(reasons)}")
    return said + f"; reasons {sorted(set(reasons))}"


@scenario(timeout=120, alone=True, long=True)
def bad_peer_moves_to_a_victim(lab):
    """It names the address of a host that does not take part, and sends
    from there: no more goes to that than came from it."""
    t = Trial(lab)

    def each(i):
        t.forged(t.a_move(1 + i // 4, VICTIM), VICTIM)
        t.forged(message("PROBE", token=bytes(16)), VICTIM)
    return t.against(each, RATE)


@scenario(timeout=180, long=True)
def bad_peer_leaves_its_flow_to_a_victim(lab):
    """It has proved an address for a busy flow, which another host has then,
    and sends on in its name: that host is sent no more of the flow when it has
    answered no PROBE for as long as an address is valid."""
    t = Trial(lab)
    stream = udp(t.peer, t.server, pace_us=10000)
    owned(t.s, stream)
    other = N.ip(1, 90)
    t.peer.add("eth0", f"{other}/24")
    t.s.moved(other)
    wait_until("the server sends to it", lambda: lab.wire(
        t.server, stream)[1] == (other, stream.port), 5)
    asked = lab.capture(t.server, "eth0", f"udp and src host {other} and dst "
                        f"port {stream.server_port}", snap=200)
    wait_until("it asks from there", asked.read, 5)
    t.peer.delete("eth0", f"{other}/24")
    t.victim.add("eth0", f"{other}/24")
    t.server.ip("neighbour flush dev eth0")
    got = lab.capture(t.victim, "eth0", f"udp and src host {SERVER} and dst "
                      f"host {other} and not port {CONTROL_PORT}", snap=64)

    def each(i):
        t.s.raw.packet(t.mac, asked.frames[0][14:])
    said = t.against(each, 50, apart=False)
    with Going(t, each, 50) as going, going:
        wait_until("some of it came", lambda: len(got.read()) > 50, 30)
        wait_until("its address has answered nothing for too long",
                   lambda: lab.entry(t.server, stream)["reason"] ==
                   "peer_away", 100)
        time.sleep(1)
        before = len(got.read())
        time.sleep(5)
        check(len(got.read()) == before, f"{len(got.read()) - before} more "
              "datagrams of the flow")
    t.flow.goes_on()
    lab.flows.remove(stream)
    return f"{said}; {before} datagrams until then"


@scenario(timeout=240, alone=True, long=True)
def bad_peer_lists_flows_without_end(lab):
    """Complete lists of 8,192 parts with 14 flows each: a million flows."""
    t = Trial(lab)
    m = t.s.flows_of([t.mine] * 14, flags=1)
    for k, e in enumerate(m.flows):
        e.src, e.flow_id = (PEER, 1024 + k), 1 << 40 | k
    body = bytearray(sacip.put_body(m))
    body[6:8] = (8192).to_bytes(2, "big")
    ids = [body.index(e.flow_id.to_bytes(8, "big")) for e in m.flows]

    def each(i):
        for k, at in enumerate(ids):
            body[at:at + 8] = (1 << 40 | i * 14 + k).to_bytes(8, "big")
        body[0:4] = (1 + i // 8192).to_bytes(4, "big")
        body[4:6] = (i % 8192).to_bytes(2, "big")
        with t.s.lock:
            t.s.put(t.s.session.seal_raw(16, bytes(body), (
                PEER, CONTROL_PORT), (SERVER, CONTROL_PORT)), PEER,
                (SERVER, CONTROL_PORT))
    return t.against(each, RATE, least=1000000 // 14)


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


def opens(t):
    """A session of the storm's own, as long as it is let."""
    s, end = t.s, time.monotonic() + 0.3
    s.ask(PEER, (SERVER, CONTROL_PORT))
    while (s.asked or "FIN" in s.timers) and time.monotonic() < end:
        if select.select([s.sockets[PEER]], [], [], 0.05)[0]:
            s._read(s.sockets[PEER])
    s.timers.clear()


TURN, BYES = 100, 8  # so many of a kind; BYE in each 8th round


@scenario(timeout=180, alone=True)
def bad_peer_floods_with_each_type(lab):
    """Of each in turn, all of them well-formed; and after BYE it is there
    again."""
    t = Trial(lab)
    far, asked = (SERVER, CONTROL_PORT), sacip.Initiator(t.s.key)
    kinds = each_type(t) + [message("BYE", reason=0)]
    shakes = sacip.INIT, sacip.RETRY, sacip.RESP, sacip.FIN
    round_ = len(shakes) + len(kinds)

    def each(i):
        k = i // TURN % round_
        m = k >= len(shakes) and kinds[k - len(shakes)]
        if m and m.name == "BYE":
            if i // TURN // round_ % BYES:
                m = kinds[0]
            elif i % TURN == TURN - 1:
                opens(t)
        if not m and shakes[k] == sacip.INIT:
            asked.e = sacip.Key()
            t.s.put(asked.init(), PEER, far)
        elif not m:
            head = sacip.HEADER.pack(shakes[k], 1, 0, t.s.session.theirs, 0)
            t.s.put(head + os.urandom(sacip.SIZES[shakes[k]] - len(head)),
                    PEER, far)
        else:
            if m.name == "MOVE":
                m.seq = i + 1
            t.s.send(m, PEER, far)
    return t.against(each, RATE, least=2 * round_ * TURN) + t.was_a_flood()


@scenario(timeout=240, alone=True, long=True)
def bad_peer_never_answers(lab):
    """The server moves, which both must hear of; and goes on when the peer's
    address is valid no more."""
    t = Trial(lab)
    answers = dict(t.s.answers)
    said = t.against(lambda i: t.s.answers.clear(), 1, t.server, apart=False,
                     peace=lambda: t.s.answers.update(answers))
    t.s.answers.clear()
    t.s._init = lambda *a: None
    wait_until("it is valid no more", lambda: not ledger.books(
        t.cap, t.mac, [PEER])[PEER].is_valid(time.time(), ledger.LATE_S), 70)
    for _ in range(MOVES):
        t.move(t.server)
    return said + t.types()


@scenario(timeout=120, alone=True, long=True)
def bad_peer_answers_late(lab):
    """Each time, when it has been asked again."""
    t = Trial(lab)
    answers = dict(t.s.answers)

    def late(work):
        def run(m):
            with t.s.lock:
                work(m)
        return lambda m: threading.Timer(LATE_S, run, [m]).start()
    slow = {n: late(w) for n, w in answers.items()}
    return t.against(lambda i: t.s.answers.update(slow), 1, t.server,
                     apart=False, peace=lambda: t.s.answers.update(
                         answers)) + t.types()


@scenario(timeout=120, alone=True, long=True)
def bad_peer_flips_between_two_addresses(lab):
    """A hundred times a second, and proves each."""
    t = Trial(lab)
    t.peer.add("eth0", f"{N.ip(1, 16)}/24")
    t.s.moved(N.ip(1, 16))
    t.s.steer = lambda: None

    def each(i):
        t.s.move((PEER, N.ip(1, 16))[i % 2])
    said = t.against(each, 100, apart=False)
    return said + f"; {len(t.s.own[1].done)} DONE"


@scenario(timeout=120, alone=True, long=True)
def bad_peer_announces_a_thousand(lab):
    """Numbers, each at the next of 150 addresses where it is not."""
    t = Trial(lab)
    them = [N.ip(1, k) for k in range(100, 250)]
    t.victim.ip(*(f"address add {a}/24 dev eth0" for a in them))

    def each(i):
        to = them[i % len(them)]
        t.forged(t.a_move(1 + i, to), to)
    said = t.against(each, RATE)
    check(t.blown > 1000, f"only {t.blown} were sent")
    return said


@scenario(timeout=120, alone=True, long=True)
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
    t.account()
    books = ledger.books(t.cap, t.mac)
    said = ", ".join(f"{m.name} {books[a].all_came} {books[a].all_went}"
                     for m, a in zip(kinds, them))

    def each(i):
        m = kinds[i % len(kinds)]
        if m.name == "MOVE":
            m.seq = i + 1
        t.forged(m, them[i % len(kinds)])
    return said + "; " + t.against(each, RATE)


class Crowd(Trial):
    """The peer has a daemon, and CROWD connections that say nothing."""

    def begin_bad(self):
        self.s = None
        self.peer.saciped(initiate=["0.0.0.0/0"])
        self.many = echo(self.peer, self.server, busy=0, idle=CROWD)
        self.lab.protected(self.many, timeout=120)
        self.at, self.took = f"{PEER}/24", []
        self.heard = self.lab.capture(self.peer, "eth0",
                                      f"udp port {CONTROL_PORT}", snap=64)

    def answers(self):
        return {PEER} | {N.ip(1, k) for k in range(100, 250)}

    def crowd_moves(self, i):
        """All of them, as fast as they are let."""
        old, self.at = self.at, N.cidr(1, 100 + i % 150)
        began = time.time_ns()
        self.peer.replace("eth0", old, self.at)
        wait_until(f"DONE to {self.at}", lambda: self.done(
            self.at, began, self.heard), 20)
        self.took.append((self.done(self.at, began, self.heard) - began) / 1e6)


@scenario(timeout=240, alone=True, long=True)
def peer_with_thousands_of_flows_moves_on_and_on(lab):
    """It is honest as well, and all of its flows move at once, whenever the
    other one moves, which may wait for one transaction of theirs."""
    t = Crowd(lab)
    said = t.against(t.crowd_moves, 100, apart=False, waits_ms=lambda:
                     median(t.took) * PART / CROWD)
    t.many.echo_all(20)
    return (f"{said}; {CROWD} flows moved {len(t.took)} times, each in "
            f"{median(t.took):.0f} ms, {max(t.took):.0f} at most")


def resets(pair):
    """Its near end, which leaves no TIME_WAIT."""
    pair.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))
    pair.close()


class Visited(Trial):
    """The victim connects to the server by itself."""

    visitors = [VICTIM, *(N.ip(1, k) for k in (100, 101, 102))]


@scenario(timeout=120, alone=True, long=True)
def bad_peer_asks_for_a_tuple_in_use(lab):
    """By a host that the daemon has no room to look after."""
    t = Visited(lab, max_flows=2)
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
    said = t.against(lambda i: t.forged(t.a_move(2 + i // 4, VICTIM), VICTIM),
                     RATE)
    check(sacip.MESSAGES["ACCEPT"][0] not in answers(), f"types {answers()}")
    theirs.goes_on().close()
    return said


@scenario(timeout=120, alone=True, long=True)
def peer_has_lost_its_memory(lab):
    """The server has moved; the peer is there again with its key and nothing
    else, and says so: that comes to rest within seconds."""
    t = Trial(lab)
    t.move(t.server)
    t.s.close()
    s = Speaker(t.peer, key=t.s.key)
    s.connect(PEER, plain(t.cidrs[t.server]))
    asked = []
    for rest_s in 4, 1.5:
        time.sleep(rest_s)
        asked.append(sum(m.name == "MOVE" for m in s.heard))
    check(asked[0] == asked[1] < 20, f"{asked} MOVEs by then")

    def each(i):
        t.s.close()
        t.s = Speaker(t.peer, key=s.key)
        t.s.connect(PEER, plain(t.cidrs[t.server]))
    t.s = s
    return f"{asked[0]} MOVEs; again and again: " + t.against(
        each, 1, apart=False)


class Heir(Trial):
    """The peer had a daemon, which MANY connections are owned by; the speaker
    has its key, and learns the rest of what the server tells."""

    def begin_bad(self):
        d = self.peer.saciped(initiate=["0.0.0.0/0"])
        self.own = echo(self.peer, self.server, busy=0, idle=MANY)
        self.lab.protected(self.own, timeout=120)
        d.kill()
        with open(d.conf["state_dir"] + "/key", "rb") as f:
            key = sacip.Key(base64.b64decode(f.readline() + b"="))
        self.s = Speaker(self.peer, key=key)
        self.ids = set()

        def learn(m):
            self.ids |= {e.flow_id for e in m.flows}
            self.s.answer(m, message(
                "FLOWS_ACK", batch=m.batch, part=m.part, parts=m.parts,
                flows=[SimpleNamespace(
                    flow_id=e.flow_id, track=1 + e.flow_id % TRACKS, seq=0,
                    at=PEER, flags=0, reason=0, proof=(0, None))
                    for e in m.flows]))
        self.s.answers["FLOWS"] = learn
        self.s.connect(PEER, SERVER)
        self.s.until("it is told of all", lambda: len(self.ids) == MANY, 30)


@scenario(timeout=300, alone=True, long=True)
def bad_peer_moves_its_many_connections(lab):
    """Two hundred times a second, each of sixty tracks in turn to its other
    address, with other ports for all of it, and back: no more of these moves
    are answered than are one peer's."""
    t = Heir(lab)
    other = N.ip(1, 16)
    t.peer.add("eth0", f"{other}/24")
    t.s.listen(other)
    tracks = [[f for f in t.ids if f % TRACKS == k] for k in range(TRACKS)]
    moves = [t.a_move(0, PEER, track=1 + k, count=len(ids),
                      digest=sacip.digest(ids))
             for k, ids in enumerate(tracks)]

    def each(i):
        k, turn = i % TRACKS, i // TRACKS
        m = moves[k]
        m.seq, m.to = turn + 1, (other, PEER)[turn % 2]
        m.ports = [SimpleNamespace(flow_id=f, port=30000 + (i + n) % 20000)
                   for n, f in enumerate(tracks[k])] if m.to == other else []
        t.s.send(m, m.to, (SERVER, CONTROL_PORT))
    said = t.against(each, 200)
    at = [ns / 1e9 for f, ns in zip(t.cap.read(), t.cap.times)
          if f[42] in (ACCEPT, DONE) and f[30:34] in map(
              packets.raw, (PEER, other))]
    bound = PEER_BURST + PEER_EACH_S * (at[-1] - at[0]) + 1
    check(len(at) <= bound, f"{len(at)} were answered, not {bound:.0f}")
    check(t.blown > 2 * bound, f"only {t.blown} were sent")
    return f"{said}; {len(at)} answered of {bound:.0f} at most"


@scenario(timeout=120, alone=True, long=True)
def bad_peer_wants_a_tuple_twice(lab):
    """Two flows of two tracks, from two addresses and the same ports: one
    goes to and fro between two others, and the other flow is to go where that
    is, and where it has just been; the server moves as well."""
    t = Trial(lab)
    other, *there = (N.ip(1, k) for k in (16, 17, 18))
    for a in other, *there:
        t.peer.add("eth0", f"{a}/24")
        t.s.listen(a)
    t.s.steer = lambda: None
    t.s.connect(other, SERVER, t.s.session.public)  # it has answered there
    a, b = (t.datagrams((at, 20000), (SERVER, 9000), track)
            for track, at in ((2, PEER), (3, other)))
    t.owns([a, b])
    t.s.moved(there[1], track=2)

    def each(i):
        t.s.moved(there[i % 2], track=2)
        for to in there:
            since = len(t.s.heard)
            t.s.move(to, track=3)
            t.s.until("an answer", lambda since=since: [
                m for m in t.s.heard[since:] if getattr(m, "track", 0) == 3])
    said = t.against(each, 2, t.server, apart=False)
    got = [m for m in t.s.heard if getattr(m, "track", 0) == 3]
    names = {m.name for m in got}
    why = {m.reason for m in got if m.name == "REFUSE"}
    check(names == {"REFUSE"} and why == {sacip.REASONS["tuple_taken"]},
          f"it got {names}, reasons {why}")
    return said


@scenario(timeout=120, alone=True)
def bad_peer_takes_the_place_of_one_that_stopped(lab):
    """Another key at the address of one that has said BYE: it gets no flow of
    that one, who has them again as soon as it is back."""
    t = Trial(lab)
    key, mine = t.s.key, t.own
    t.s.bye()
    t.s.close()
    t.s = Speaker(t.peer, key=LOWEST)
    t.s.connect(PEER, SERVER)
    f = t.s.knows(mine)
    said = t.against(lambda i: t.s.claim(f), 20, apart=False)
    check(not f.confirmed and f.reason == sacip.REASONS["flow_owned"],
          f"confirmed: {f.confirmed}, reason {f.reason}")
    t.s.close()
    t.s = Speaker(t.peer, key=key)
    t.s.connect(PEER, SERVER)
    began = time.monotonic()
    owned(t.s, mine)
    return f"{said}; owned again in {time.monotonic() - began:.1f} s"


class Configured(Trial):
    """The server has the peer's key and address in its configuration, and
    begins. A man on the side, at the victim's port, sees what it sends, and
    answers before the peer does."""

    def begin_bad(self):
        key = sacip.Key()
        self.server.daemon.stop()
        self.server.daemon.conf.update(peers=[{
            "name": "peer", "addresses": [PEER],
            "public_key": base64.b64encode(key.public).decode()}])
        self.server.daemon.start()
        self.man = packets.Injector(self.victim, "eth0")
        self.to = self.server.mac("eth0")
        self.s, self.inits = Speaker(self.peer, key=key), []
        answer = self.s._init

        def late(data, own, far):
            self.inits.append(data)
            self.forge(data)
            time.sleep(0.05)  # he is nearer
            answer(data, own, far)
        self.s._init = late
        self.own = echo(self.peer, self.server, pace_us=10000)
        self.mine = self.s.knows(self.own)
        wait_until("there is a session, and it is owned", lambda:
                   self.lab.entry(self.server, self.own)["state"] ==
                   "protected", 20)

    def forge(self, init, retries=3):
        """RETRYs that mean nothing, and a RESP by a key of his own."""
        index = init[84:88]
        for data in [sacip.HEADER.pack(sacip.RETRY, 1, 0, int.from_bytes(
                index, "big"), 0) + os.urandom(16) for _ in range(retries)] + [
                sacip.Responder(sacip.Key()).init(
                    init, (PEER, CONTROL_PORT), (SERVER, CONTROL_PORT))]:
            self.man.packet(self.to, packets.ip(PEER, SERVER, packets.UDP,
                            packets.udp(CONTROL_PORT, CONTROL_PORT, data)))


@scenario(timeout=120, alone=True)
def man_on_the_side_answers_first(lab):
    """For a peer that is configured: there is a session with it all the
    same, and a crowd of such answers changes nothing after that."""
    t = Configured(lab)
    began = len(t.inits)

    def each(i):
        t.forge(t.inits[-1])
    said = t.against(each, RATE)
    return f"{said}; {began} INITs until there was a session"


@scenario(timeout=120, alone=True, long=True)
def bad_peer_names_a_later_number(lab):
    """By one SYNC: its flow is held, and goes on by itself; the honest pair
    moves meanwhile."""
    t = Trial(lab)
    stream = udp(t.peer, t.server, pace_us=10000)
    owned(t.s, stream)
    t.s.sync(own=[SimpleNamespace(track=1, seq=9, locator=N.ip(1, 16))])
    began = time.monotonic()
    wait_until("it is held", lambda: stream.silent_ms() > 1000, 5)
    said = t.against(lambda i: None, 1, apart=False)
    stream.goes_on(timeout=HOLD_S + 5)
    took_s = time.monotonic() - began
    check(t.server.daemon.counter("holds_ended") > 0, "nothing was counted")
    return f"{said}; held for {took_s:.1f} s"


@scenario(timeout=120, alone=True, long=True)
def bad_peer_jumps_to_the_last_number(lab):
    """By MOVE, SYNC and FLOWS: that counts for nothing, and the number after
    its own does."""
    t = Trial(lab)
    last = (1 << 64) - 1
    far, other = (SERVER, CONTROL_PORT), N.ip(1, 16)
    t.peer.add("eth0", f"{other}/24")
    t.s.listen(other)

    def each(i):
        seq = (last, JUMP + 1 + i)[i % 2]
        flows = t.s.flows_of([t.mine])
        flows.flows[0].seq = seq
        t.s.send(t.a_move(seq, other), other, far)
        t.s.send(t.s.known("SYNC", own=[SimpleNamespace(
            track=1, seq=seq, locator=other)]), PEER, far)
        t.s.send(flows, PEER, far)
    said = t.against(each, RATE)
    got = {m.name for m in t.s.heard if getattr(m, "seq", 0) > JUMP}
    check(not got, f"it was answered by {got}")
    t.own.goes_on()
    t.s.moved(other)
    t.own.goes_on()
    return said


@scenario(timeout=120, alone=True)
def thief_claims_beside_an_honest_pair(lab):
    """A flow that nobody owns, from the right address and blind, by what goes
    on it and by receipts that are made up; then its end comes and owns it."""
    t = Trial(lab)
    free, owner = udp(t.peer, t.server, pace_us=10000), t.s
    t.s = thief(t.peer, PEER, SERVER, key=LOWEST)
    claim = Claims(t.s, t.s.knows(free))

    def each(i):
        fresh = os.urandom(16)
        claim.say(1, (1, t.s.tag(fresh)))
        t.s.emit(claim.flow, fresh)
        claim.say(1, (2, (fresh if i % 2 else os.urandom(16), (0,) * 4)))
    said = t.against(each, RATE)
    won = [e for e in claim.answers() if e.proof[0] == 2]
    check(not won, f"the thief was told {won}")
    owned(owner, free)
    return said


def syns_again(host):
    """How often its TCP has repeated a SYN."""
    names, values = (r.split() for r in host.read(
        "/proc/thread-self/net/netstat").splitlines()[:2])
    return int(values[names.index("TCPSynRetrans")])


@scenario(timeout=120, alone=True, long=True)
def bad_peer_offers_what_a_third_party_opens(lab):
    """The victim's addresses in turn, for all of its flows, and it never proves
    that. Who comes from there meanwhile, from the ports of these flows, gets in
    with his first SYN each time."""
    t = Visited(lab)
    t.victim.ip(*(f"address add {a}/24 dev eth0" for a in t.visitors[1:]))
    flows = [t.own, *(echo(t.peer, t.server, pace_us=10000) for _ in range(3))]
    owned(t.s, *flows[1:])

    def each(i):
        to = t.visitors[i // 64 % len(t.visitors)]
        t.forged(t.a_move(1 + i // 4, to), to)

    def visit(i):
        f, own = flows[i // 4 % 4], t.visitors[i % 4]
        p = Pair(t.victim, own, f.port, t.server, SERVER, f.server_port,
                 served=True).goes_on()
        resets(p)
    with Going(t, visit, 20) as visits, visits:
        said = t.against(each, RATE)
    ceded = t.server.daemon.counter("tuples_ceded")
    check(ceded >= MOVES, f"only {ceded} tuples were offered and ceded")
    check(not syns_again(t.victim), f"{syns_again(t.victim)} of "
          f"{visits.count} visitors had to ask again")
    for f in flows:
        f.goes_on()
    return f"{said}; {visits.count} visits, {ceded} tuples ceded"


@scenario(timeout=120, alone=True, long=True)
def bad_peer_makes_taps_come_and_go(lab):
    """It claims one of its many TCP connections at a time, so that the server
    has to open a tap for the numbers of its packets, and resets it at once. To
    close a tap takes longer than a move: the daemon's thread waits for none."""
    t = Trial(lab, key=LOWEST)
    far, seen, stuck = (SERVER, t.own.server_port), set(), []
    pairs = [Pair(t.peer, PEER, 0, t.server, *far, served=True)
             for _ in range(IDLE)]
    wait_until("the server has seen them", lambda: len(
        t.server.daemon.list()) > IDLE, 20)

    def each(i):
        if i % 2 or not pairs:
            if pairs:
                resets(pairs.pop(0))
            return
        f = Flow(sacip.TCP, (PEER, pairs[0].port), far)
        f.id = 1000 + i
        m = t.s.flows_of([f])
        m.flows[0].proof = 1, os.urandom(16)
        t.s.send(m, PEER, (SERVER, CONTROL_PORT))

    def look(i):
        seen.update(r.split()[-1] for r in t.server.read(
            "/proc/thread-self/net/packet").splitlines()[1:])
        with open(f"/proc/{t.server.daemon.process.pid}/stack") as f:
            stuck.extend(["packet_release" in f.read()])
    with Going(t, look, 100) as looks, looks:
        said = t.against(each, 200, apart=False)
    tried = [e for m in t.s.heard if m.name == "FLOWS_ACK" for e in m.flows
             if e.flow_id >= 1000 and e.proof[0] == 1]
    check(len(tried) > 5 * MOVES, f"only {len(tried)} were looked at")
    check(not any(stuck), f"it waits for one in {sum(stuck)} of {len(stuck)} "
          "looks")
    return (f"{said}; {len(tried)} claims looked at, with "
            f"{len(seen)} taps")


class Street(Trial):
    """
        client, server, peer, victim --- lan --- fd00:1::9 neighbour
    who has a connection with the server, at fd00:1::3. The peer is at addresses
    of the same /64, and of eleven others."""

    more = ("neighbour eth0 10.1.0.9/24,fd00:1::9/64 lan",)
    drain = "fd00:1::7"
    SERVER, NEIGHBOUR, PLACES, EACH = "fd00:1::3", "fd00:1::9", 12, 4

    def begin_bad(self):
        super().begin_bad()
        self.neighbour, = self.others
        self.victim.add("eth0", f"{self.drain}/64", "nodad")
        self.server.add("eth0", f"{self.SERVER}/64", "nodad")
        self.server.run(*"ip -6 route add fd00::/16 dev eth0".split())
        self.them = [f"fd00:{1 + k % self.PLACES:x}::{0x100 + k:x}"
                     for k in range(self.PLACES * self.EACH)]
        self.peer.ip(*(f"address add {a}/16 dev eth0 nodad"
                       for a in self.them))
        for a in self.them:
            self.s.listen(a)
        self.honest |= {self.NEIGHBOUR}
        self.theirs = echo(self.neighbour, self.server, to=self.SERVER, fam=6)
        self.guest, self.took = Speaker(self.neighbour), []
        self.asked, self.old = {}, None

    def shake(self, i):
        """From one address more with a cookie that was for another key, and
        from one with what it gets: each fourth is of the neighbour's /64."""
        far, places = (self.SERVER, CONTROL_PORT), len(self.them)
        if self.old:
            self.s.put(self.old[i % len(self.old)], self.them[0], far)
        own = self.them[i % places if i % 4 else
                        i // 4 * self.PLACES % places]
        a = sacip.Initiator(self.s.key, self.s.session.public)
        self.asked[a.index] = a, own
        self.s.put(a.init(), own, far)
        for own in self.them[i % 4::4]:
            with contextlib.suppress(BlockingIOError):
                self.retried(self.s.sockets[own].recv(2048), far)

    def retried(self, data, far):
        a, own = self.asked.pop(int.from_bytes(data[4:8], "big"), (None, None))
        if not a or data[0] != sacip.RETRY:
            return
        a.retry(data)
        self.s.put(a.init(), own, far)
        if not self.old:
            others = [sacip.Initiator(self.s.key, self.s.session.public)
                      for _ in range(64)]
            for o in others:
                o.cookie = a.cookie
            self.old = [o.init() for o in others]

    def visit(self):
        """The neighbour has a new key each time, and comes when the tokens of
        the /64 are used up."""
        def refused():
            return self.server.daemon.counter("hs_rate_limited")
        least = refused() + 20
        wait_until("others are refused", lambda: refused() > least, 20)
        self.guest.key, began = sacip.Key(), time.monotonic()
        self.guest.connect(self.NEIGHBOUR, self.SERVER)
        self.took.append(time.monotonic() - began)


@scenario(timeout=120, alone=True, long=True)
def bad_peer_opens_handshakes_with_cookies(lab):
    """From the /64 of an honest host, which gets in all the same, and from
    others, so that there is no room for more: with one cookie again and again,
    and with such as are right."""
    t = Street(lab)
    said = t.against(t.shake, RATE, beside=t.visit)
    c = t.server.daemon.counters()
    names = "hs_cookie_bad", "hs_rate_limited", "hs_half_open_full"
    check(c[names[0]] >= FLOOD and c[names[2]],
          f"{[c[n] for n in names]} of {names}")
    asked = sum(ledger.parse(f)[0] == packets.raw(t.NEIGHBOUR) and
                ledger.parse(f)[3] == sacip.INIT for f in t.cap.read())
    check(asked <= 3 * len(t.took), f"the neighbour sent {asked} INITs for "
          f"{len(t.took)} sessions, of which one is for a cookie")
    return (f"{said}; {len(t.took)} neighbours, {asked} INITs, each in "
            f"{median(t.took):.2f} s, {max(t.took):.2f} at most; " + ", ".join(
                f"{n} {c[n]}" for n in names))
