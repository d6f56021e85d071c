# SPDX-License-Identifier: GPL-2.0-or-later
"""speaker: a peer of saciped in a lab's namespace, driven by a scenario.

Owns UDP sockets, one session, the flows of its host that it was told of, and
the tables `inet interop` that rewrites them and `inet nonces`. A thread answers as sacip(7) has
it; `answers` holds who answers what, so that a bad peer replaces or removes
one entry. What it hears is kept in `heard`. It holds no packets, stores
nothing, and asks nobody's leave: policy is the daemon's business.
"""
import os
import select
import socket
import struct
import threading
import time
from types import SimpleNamespace

import packets
import sacip
from lab import Capture, check, family, plain, wait_until
from sacip import REASONS, message

AGAIN_S = 0.25  # what is not answered is sent again, so often
TIMES = 20
FRESH_S = 0.6  # for a segment of a flow to pass
NONCE = 0xfe16  # kind and length of the TCP option
MAGIC = bytes.fromhex("d35ac1b053414349")  # and what it is in UDP


class Flow:
    """`near` is the end at the speaker's host; both are the identity."""

    def __init__(self, proto, near, far):
        self.proto, self.near, self.far = proto, near, far
        self.id, self.confirmed, self.reason = 0, False, None
        self.track, self.theirs = 1, None
        self.kind = 0  # of the proof that is due
        # what went on it and with which numbers, what is to come, and came
        self.fresh, self.out, self.tag, self.came = None, None, None, None


class Half:
    """A track: its number, locator, those accepted, ports that differ."""

    def __init__(self, at, seq=0):
        self.seq, self.at, self.ports = seq, at, {}
        self.accepted, self.asked, self.done = [at], None, []

    def wire(self, flow, identity, at=None):
        """An end of the flow at that locator (`at`: the present one)."""
        port = self.ports.get((at or self.at, flow.id), identity[1])
        return at or self.at, port


class Speaker:
    def __init__(self, host, dev="eth0", key=None, port=sacip.PORT,
                 cookies=False):
        self.lab, self.host, self.dev, self.port = host.lab, host, dev, port
        self.key, self.cookies, self.secret = (key or sacip.Key(), cookies,
                                               os.urandom(32))
        self.sockets, self.half, self.sessions = {}, {}, {}
        self.asked, self.session, self.away = None, None, None
        self.flows, self.heard, self.timers = [], [], {}
        self.own, self.theirs, self.sent, self.ended = {}, {}, 0, set()
        self.answers = {n: getattr(self, "on_" + n.lower()) for n in (
            "FLOWS", "FLOWS_ACK", "FLOW_END", "FLOW_END_ACK", "PROBE", "MOVE",
            "ACCEPT", "REFUSE", "PROVE", "DONE", "SYNC", "SYNC_ACK", "BYE")}
        self.lock, self.closed = threading.RLock(), False
        for a in host.addresses:
            self.listen(plain(a))
        self.nonces = Capture(
            self.lab, host, dev, f"tcp[20:2] = {NONCE} or ip6[60:2] = {NONCE} "
            f"or udp[8:4] = 0x{MAGIC[:4].hex()} or (ip6 proto 17 and "
            f"ip6[48:4] = 0x{MAGIC[:4].hex()})", snap=200)
        self.raw = packets.Injector(host, dev)
        self.ip = {f: host.socket(f, socket.SOCK_RAW, socket.IPPROTO_RAW)
                   for f in (socket.AF_INET, socket.AF_INET6)}
        self._take_out()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        """Without a farewell."""
        self.closed = True
        self.thread.join()
        for s in self.sockets.values():
            s.close()

    # --- datagrams

    def listen(self, addr):
        if addr in self.sockets:
            return
        fam = socket.AF_INET6 if ":" in addr else socket.AF_INET
        s = self.host.socket(fam, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_IP, 15, 1)  # FREEBIND: it may come later
        s.bind((addr, self.port))
        s.setblocking(False)
        self.sockets[addr] = s

    def put(self, data, own, far):
        """far: an endpoint."""
        self.sent += len(data)
        try:
            self.sockets[own].sendto(data, far)
        except OSError:
            pass  # as lost as any

    def send(self, m, own=None, far=None, tlvs=b""):
        """Over the pair of addresses of the last handshake by default."""
        with self.lock:
            own, far = own or self.path[0], far or self.path[1]
            self.put(self.session.seal(m, (own, self.port), far, tlvs), own,
                     far)

    def again(self, key, send, times=TIMES):
        """Now and then again, until `settle(key)`."""
        with self.lock:
            self.timers[key] = [time.monotonic() + AGAIN_S, times, send]
            send()

    def settle(self, key):
        self.timers.pop(key, None)

    def until(self, what, ready, timeout=5):
        return wait_until(f"speaker: {what}", ready, timeout, 0.005)

    def hears(self, name, since=0, timeout=5):
        """The first message of that name after so many."""
        return self.until(f"hears {name}", lambda: next(
            (m for m in self.heard[since:] if m.name == name), None), timeout)

    def replies(self, m, own=None, tlvs=b""):
        """What it is answered with before a PROBE that is sent after it."""
        since, token = len(self.heard), os.urandom(16)
        self.send(m, own, tlvs=tlvs)
        self.send(message("PROBE", token=token))

        def last(m):
            return m.name == "PROBE_ACK" and m.token == token
        self.until("PROBE_ACK", lambda: any(map(last, self.heard[since:])))
        return [m for m in self.heard[since:] if not last(m)]

    def _run(self):
        while not self.closed:
            ready, _, _ = select.select(
                [*self.sockets.values(), self.nonces.sock], [], [], 0.02)
            with self.lock:
                for s in ready:
                    if s is self.nonces.sock:
                        self._nonces()
                    else:
                        self._read(s)
                now = time.monotonic()
                for key, t in list(self.timers.items()):
                    if t[0] <= now and t[1]:
                        t[0], t[1] = now + AGAIN_S, t[1] - 1
                        t[2]()

    def _read(self, s):
        own = s.getsockname()[0]
        try:
            data, far = s.recvfrom(2048)
            kind, index, _ = sacip.header(data)
            self._datagram(data, kind, index, own, far[:2])
        except (sacip.Malformed, OSError):
            pass

    def _datagram(self, data, kind, index, own, far):
        near = own, self.port
        if kind == sacip.INIT:
            self._init(data, own, far)
        elif kind in (sacip.RETRY, sacip.RESP):
            a = self.asked
            if not a or (a.index, a.own, a.far) != (index, own, far):
                raise sacip.Malformed("not asked")
            if kind == sacip.RETRY:
                a.retry(data)
                self.put(a.init(), own, far)
            else:
                self.asked = None
                self.settle("INIT")
                fin, session = a.resp(data, near, far)
                self._take(session, own, far)
                self.again("FIN", lambda: self.put(fin, own, far), 8)
        elif kind == sacip.FIN:
            h = self.half.get(index)
            if not h or h.far != far or h.own != own:
                raise sacip.Malformed("no such handshake")
            if not h.session:
                h.session = h.fin(data, far, near)
                self._take(h.session, own, far)
            self.send(message("PROBE", token=os.urandom(16)), own, far)
        elif index in self.sessions:
            m = self.sessions[index].open(data, far, near)
            m.own, m.far_end, m.at_s = own, far, time.monotonic()
            self.settle("FIN")
            self.heard.append(m)
            if m.name in self.answers:
                self.answers[m.name](m)

    def answer(self, m, reply):
        """Goes back the way that the question came."""
        self.send(reply, m.own, m.far_end)

    # --- handshakes

    def connect(self, own, far, responder=None, timeout=5):
        """As initiator; a session when it is confirmed."""
        with self.lock:
            self.ask(own, (far, self.port), responder)
        self.until("a session", lambda: self.session and not self.asked and
                   "FIN" not in self.timers, timeout)
        return self.session

    def ask(self, own, far, responder=None):
        a = self.asked = self.begun = sacip.Initiator(self.key, responder)
        a.own, a.far = own, far
        self.again("INIT", lambda: self.put(a.init(), own, far), 8)

    def _take(self, session, own, far):
        self.session, self.path = session, (own, far)
        self.sessions[session.index] = session

    def _init(self, data, own, far):
        a = self.asked
        if a and (a.own, a.far) == (own, far):  # they cross
            if a.hash < sacip.init_hash(data):
                return
            self.asked = None
            self.settle("INIT")
        if self.cookies:
            cookie = sacip.blake2b(16, sacip.put_endpoint(far) + data[84:88],
                                   self.secret)
            if data[16:32] != cookie:
                self.put(sacip.HEADER.pack(sacip.RETRY, 1, 0,
                                           *struct.unpack(">I", data[84:88]),
                                           0) + cookie, own, far)
                return
        for h in self.half.values():
            if h.asked == data[48:88]:
                self.put(h.resp, own, far)
                return
        h = sacip.Responder(self.key)
        h.resp = h.init(data, (own, self.port), far)
        h.own, h.far, h.asked, h.session = own, far, data[48:88], None
        self.half[h.index] = h
        self.put(h.resp, own, far)

    def bye(self, reason=0):
        """Has stopped: what it owns, and has not moved, waits for it."""
        with self.lock:
            self.send(message("BYE", reason=reason))
            self.on_bye(None)

    def on_bye(self, m):
        """The sessions are over; flows and tracks are not."""
        self.session, self.sessions, self.asked = None, {}, None
        self.timers.clear()

    def on_probe(self, m):
        self.answer(m, message("PROBE_ACK", token=m.token))

    # --- ownership

    def knows(self, flow):
        """Takes up a flow of the lab that ends at its host."""
        at = (flow.near_addr, flow.port), (flow.far_addr, flow.server_port)
        if flow.server is self.host:
            at = at[1], at[0]
        f = Flow(sacip.TCP if flow.proto == "tcp" else sacip.UDP, *at)
        with self.lock:
            self.flows.append(f)
            self.own.setdefault(f.track, Half(f.near[0]))
        return f

    def offers(self):
        return self.key.public < self.session.public

    def ends(self):
        """The keys of who offers and who answers."""
        return sorted((self.key.public, self.session.public))

    def tag(self, fresh):
        return sacip.tag(self.ends(), fresh)

    def answering(self, fresh):
        return sacip.answer(self.ends(), fresh)

    def claim(self, flow):
        """Offers it, or asks the other end to."""
        with self.lock:
            if self.offers():
                flow.id = flow.id or int.from_bytes(os.urandom(8), "big")
                flow.kind, flow.fresh = 1, None
            self.again(flow, lambda: self._tell(flow))

    def _tell(self, flow):
        """Each try has a nonce of its own."""
        if flow.kind == 1 and (not flow.fresh or flow.out):
            flow.fresh, flow.out = os.urandom(16), None
        self.send(self.flows_of([flow]))

    def flows_of(self, flows, flags=0, batch=None):
        return message(
            "FLOWS", batch=batch or int.from_bytes(os.urandom(4), "big"),
            part=0, parts=1, flags=flags, flows=[SimpleNamespace(
                **self.place(f), proto=f.proto, src=f.near, dst=f.far,
                proof=self.proof(f)) for f in flows])

    def place(self, flow):
        half = self.own[flow.track]
        return {"flow_id": flow.id, "track": flow.track, "seq": half.seq,
                "at": half.at, "flags": 0}

    def segment(self, flow, timeout=FRESH_S):
        """A segment of the own end that leaves after this call, or None."""
        tap = self.host.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        tap.bind((self.dev, 3))  # ETH_P_ALL
        end = time.monotonic() + timeout
        with tap:
            while select.select([tap], [], [],
                                max(0, end - time.monotonic()))[0]:
                frame, at = tap.recvfrom(65536)
                if at[2] == socket.PACKET_OUTGOING and frame[
                        23 if at[1] == 0x800 else 20] == packets.TCP:
                    p = packets.Parsed(frame)
                    if (p.sport, p.dport) == (flow.near[1], flow.far[1]):
                        return p
        return None

    def proof(self, flow):
        """What is due of an offer."""
        if flow.confirmed or not flow.kind:
            return 0, None
        return (1, self.tag(flow.fresh)) if flow.kind == 1 else (2, flow.came)

    @staticmethod
    def numbers(p):
        """That a nonce came with."""
        if p.proto == packets.UDP:
            return 0, 0, 0, 0
        at = Speaker.stamps(p)
        return p.seq, p.ack, *(struct.unpack(">II", at[2:]) if at else (0, 0))

    @staticmethod
    def sent_numbers(s):
        """Of a nonce after the segment `s`."""
        return s.end, *Speaker.numbers(s)[1:]

    @staticmethod
    def stamps(p):
        return next((p.l4[20 + i:30 + i] for i in range(
            (p.l4[12] >> 4) * 4 - 20) if p.l4[20 + i:22 + i] == b"\x08\x0a"),
            b"")

    def emit(self, flow, fresh):
        """A nonce on the flow; false where its numbers are not known."""
        (src, sport), (dst, dport) = flow.near, flow.far
        if flow.proto == sacip.UDP:
            flow.out, l4 = (fresh, (0, 0, 0, 0)), packets.udp(
                sport, dport, MAGIC + fresh)
        else:
            s = self.segment(flow)
            if not s:
                return False
            l4 = self.tcp_nonce(sport, dport, s, fresh)
            flow.out = fresh, self.sent_numbers(s)
        fam = socket.AF_INET6 if ":" in src else socket.AF_INET
        self.ip[fam].sendto(packets.ip(src, dst, flow.proto, l4), (dst, 0))
        return True

    def tcp_nonce(self, sport, dport, s, mac):
        """With the numbers of the segment `s`, that was sent last."""
        options = sacip.nonce_options(mac, self.stamps(s))
        head = packets.tcp(sport, dport, s.end, s.ack, packets.ACK,
                           *struct.unpack(">H", s.l4[14:16]))
        return head[:12] + bytes(((20 + len(options)) << 2,)) + head[
            13:] + options

    def _proves(self, p, nonce):
        """What came on a flow that is being proved, if it is that."""
        for f in self.flows:
            if (f.far, f.near) != ((p.src, p.sport), (p.dst, p.dport)):
                continue
            if f.fresh and f.kind == 1 and nonce[:8] == self.answering(f.fresh):
                f.kind, f.came = 2, (nonce, self.numbers(p))
                self.again(f, lambda f=f: self._tell(f))
            elif f.tag and f.tag == self.tag(nonce):
                f.tag, f.came = None, (nonce, self.numbers(p))
                self.emit(f, self.answering(nonce) + os.urandom(8))

    def find(self, entry):
        return next((f for f in self.flows if f.id and f.id == entry.flow_id
                     or (f.proto, f.near, f.far) ==
                     (entry.proto, entry.dst, entry.src)), None)

    def on_flows(self, m):
        wanted, out = [], []
        for e in m.flows:
            f, reason, proof = self.find(e), "none", (0, None)
            if not f:
                reason = "unknown_flow"
            elif not e.flow_id:
                wanted.append(f)
            elif e.proof[0] == 1:
                f.tag, f.id, f.out = e.proof[1], e.flow_id, None
                proof = e.proof
            elif e.proof[0] == 2:
                if e.proof[1] == f.out:
                    f.confirmed, proof = True, (2, f.came)
                else:
                    reason = "retry"
            if f and f.confirmed and reason == "none":
                self.enter(f, e)
            place = self.place(f) if f else {"track": 0, "seq": 0,
                                             "at": m.own, "flags": 0}
            out.append(SimpleNamespace(**dict(place, flow_id=e.flow_id),
                                       reason=REASONS[reason], proof=proof))
        self.answer(m, message("FLOWS_ACK", batch=m.batch, part=m.part,
                               parts=m.parts, flows=out))
        for f in wanted:
            self.claim(f)

    def enter(self, flow, place):
        """Into the track of the other end that it names."""
        flow.theirs = place.track
        self.theirs.setdefault(place.track, Half(place.at, place.seq))

    def on_flows_ack(self, m):
        for e in m.flows:
            f = next((f for f in self.flows if e.flow_id and
                      f.id == e.flow_id), None)
            if not f:
                continue
            f.reason = e.reason
            if e.proof[0] == 1:
                if not f.out and f.kind == 1 and e.proof[1] == self.tag(
                        f.fresh):
                    self.emit(f, f.fresh)
                continue
            if e.proof[0] == 2 and f.kind == 2 and e.proof[1] == f.out:
                f.confirmed = True
            if f.confirmed:
                self.enter(f, e)
            elif e.reason in (REASONS["none"], REASONS["retry"],
                              REASONS["later"], REASONS["limit"]):
                f.kind = 1  # is offered again
                continue
            self.settle(f)
        if m.flows and all(not e.flow_id for e in m.flows):
            for f in self.flows:  # an offer will follow, or not
                self.settle(f)

    def on_flow_end(self, m):
        self.answer(m, message("FLOW_END_ACK", flows=m.flows))
        gone = [f for f in self.flows if any(f.id == e.flow_id
                                             for e in m.flows)]
        self.flows = [f for f in self.flows if f not in gone]
        if gone:
            self.answer(m, message("FLOW_END", flows=m.flows))

    def end(self, *flows):
        """Says that they are over, until that is heard."""
        m = message("FLOW_END", flows=[SimpleNamespace(flow_id=f.id)
                                       for f in flows])
        with self.lock:
            self.flows = [f for f in self.flows if f not in flows]
            self.ended = {f.id for f in flows}
            self.again("FLOW_END", lambda: self.send(m))

    def on_flow_end_ack(self, m):
        self.ended -= {e.flow_id for e in m.flows}
        if not self.ended:
            self.settle("FLOW_END")

    def members(self, track, whose):
        return [f.id for f in self.flows if f.confirmed and
                getattr(f, whose) == track]

    def known(self, name, **fields):
        """SYNC or SYNC_ACK; `fields` replace what is true."""
        ids = [f.id for f in self.flows if f.confirmed]
        return message(name, **dict(dict(
            own=[SimpleNamespace(track=t, seq=h.seq, locator=h.at)
                 for t, h in self.own.items()],
            theirs=[SimpleNamespace(track=t, committed=h.seq)
                    for t, h in self.theirs.items()],
            flow_count=len(ids), digest=sacip.digest(ids)), **fields))

    def sync(self, **fields):
        with self.lock:
            m = self.known("SYNC", **fields)
            self.again("SYNC", lambda: self.send(m), 6)

    def on_sync(self, m):
        self.answer(m, self.known("SYNC_ACK"))

    def on_sync_ack(self, m):
        self.settle("SYNC")

    # --- moves, as mover

    def move(self, to, gone=False, track=1, seq=None, whither=None, **fields):
        """Asks for `to`; `fields` replace what the page wants in MOVE."""
        with self.lock:
            half, ids = self.own[track], self.members(track, "track")
            self.listen(to)
            half.asked = half.asked or half.seq
            half.asked = seq or half.asked + 1
            half.to, half.accepted = to, half.accepted + [to]
            self.steer()
            m = message("MOVE", **dict(dict(
                track=track, seq=half.asked, from_=half.at, to=to,
                flags=int(gone), count=len(ids), digest=sacip.digest(ids),
                part=0, parts=1, ports=[]), **fields))
            self.again("MOVE", lambda: [self.send(m, to, f) for f in
                                        whither or self.there()])
            return half.asked

    def there(self):
        """Where the other end is by now: it may move meanwhile."""
        return [(h.at, self.port) for h in self.theirs.values()]

    def moved(self, to, **how):
        """A whole move."""
        seq = self.move(to, **how)
        half = self.own[how.get("track", 1)]
        self.until(f"DONE of {to}", lambda: seq in half.done)

    def on_accept(self, m):
        half = self.own.get(m.track)
        if not half or m.seq != half.asked or m.own != half.to:
            return
        self.settle("MOVE")
        half.at, to = half.to, half.to
        self.steer()
        prove = message("PROVE", track=m.track, seq=m.seq, to=to,
                        challenge=m.challenge, flows=[])
        self.again("PROVE", lambda: [self.send(prove, to, f) for f in dict.
                                     fromkeys([m.far_end, *self.there()])])

    def on_refuse(self, m):
        self.settle("MOVE")

    def on_done(self, m):
        half = self.own.get(m.track)
        if half and m.seq == half.asked:
            self.settle("MOVE")
            self.settle("PROVE")
            half.seq, half.at = m.seq, half.to
            half.done.append(m.seq)
            self.path = half.to, self.path[1]

    # --- moves, as peer

    def on_move(self, m):
        half = self.theirs.get(m.track)
        if m.far_end[0] != m.to or half and m.seq < half.seq:
            return
        if half and m.seq == half.seq:
            if m.to == half.at:
                self.answer(m, message("DONE", track=m.track, seq=m.seq))
            return
        ids = self.members(m.track, "theirs")
        if not half or (m.count, m.digest) != (len(ids), sacip.digest(ids)):
            self.answer(m, message("REFUSE", track=m.track, seq=m.seq,
                                   reason=REASONS["digest"], flows=[]))
            return
        if not half.asked or half.asked.seq < m.seq:
            half.asked = SimpleNamespace(seq=m.seq, to=m.to,
                                         challenge=os.urandom(16))
            half.ports.update({(m.to, p.flow_id): p.port for p in m.ports})
            half.accepted = half.accepted[-7:] + [m.to]
            self.steer()
        if half.asked.seq == m.seq:
            self.answer(m, message("ACCEPT", track=m.track, seq=m.seq,
                                   challenge=half.asked.challenge, lease_s=30,
                                   flows=[]))

    def on_prove(self, m):
        half = self.theirs.get(m.track)
        a = half and half.asked
        if not a or (m.seq, m.challenge, m.to) != (a.seq, a.challenge, a.to):
            return
        if half.seq < m.seq:
            half.seq, half.at = m.seq, m.to
            self.path = m.own, (m.to, self.port)
            self.steer()
        self.send(message("DONE", track=m.track, seq=m.seq), m.own,
                  (m.to, self.port))

    def _nonces(self):
        """Answers those that came from a mover at the address on offer."""
        before = len(self.nonces.frames)
        for frame in self.nonces.read()[before:]:
            p = packets.Parsed(frame)
            mac = p.l4[26:42] if p.proto == packets.TCP else p.l4[16:32]
            self._proves(p, mac)
            for f in self.flows:
                a = f.theirs and self.theirs[f.theirs].asked
                if a and p.src == a.to and mac == sacip.nonce_mac(
                        a.challenge, 1, f.theirs, a.seq, f.id,
                        self.numbers(p)):
                    self._answer_nonce(frame, p, f, a)

    def _answer_nonce(self, frame, p, flow, asked):
        about = asked.challenge, 2, flow.theirs, asked.seq, flow.id
        if p.proto == packets.UDP:
            mac = sacip.nonce_mac(*about)
            self.raw.packet(frame[6:12], packets.ip(
                p.dst, p.src, packets.UDP,
                packets.udp(p.dport, p.sport, MAGIC + mac)))
            return
        s = self.segment(flow)
        if s:
            mac = sacip.nonce_mac(*about, self.sent_numbers(s))
            self.raw.packet(frame[6:12], packets.ip(
                p.dst, p.src, packets.TCP, self.tcp_nonce(p.dport, p.sport, s,
                                                          mac)))

    # --- packets

    def _take_out(self):
        """Nonces reach no socket; what another speaker steers stays so."""
        self.host.run("nft", "-f", "-", input="\n".join((
            "table inet nonces", "delete table inet nonces",
            "table inet nonces {", "chain into {",
            "type filter hook prerouting priority -301;",
            f"meta l4proto tcp @th,160,16 {NONCE} drop",
            f"meta l4proto udp @th,64,32 0x{MAGIC[:4].hex()} drop",
            "}", "}")))

    def steer(self):
        """The table anew, in one transaction: each accepted tuple comes in as
        the identity, which goes out as the present one."""
        into, out = [], []
        for f in self.flows:
            if not f.confirmed or f.theirs is None:
                continue
            own, far = self.own[f.track], self.theirs[f.theirs]
            for o in dict.fromkeys(own.accepted):
                for a in dict.fromkeys(far.accepted):
                    into.append(self.rule(
                        f, (far.wire(f, f.far, a), own.wire(f, f.near, o)),
                        (f.far, f.near)))
            out.append(self.rule(f, (f.near, f.far),
                                 (own.wire(f, f.near), far.wire(f, f.far))))
        self.host.run("nft", "-f", "-", input="\n".join((
            "table inet interop", "delete table inet interop",
            "table inet interop {", "chain into {",
            "type filter hook prerouting priority -300;", *filter(None, into),
            "}", "chain out {", "type filter hook postrouting priority 300;",
            *filter(None, out), "}", "}")))

    @staticmethod
    def rule(flow, seen, given):
        """From one pair of endpoints, source and destination, to another."""
        if seen == given:
            return ""
        ip = "ip6" if family(seen[0][0]) == 6 else "ip"
        l4 = "tcp" if flow.proto == sacip.TCP else "udp"
        (a, b), (x, y) = seen, given
        sets = [f"{ip} saddr set {x[0]}" * (a[0] != x[0]),
                f"{ip} daddr set {y[0]}" * (b[0] != y[0]),
                f"{l4} sport set {x[1]}" * (a[1] != x[1]),
                f"{l4} dport set {y[1]}" * (b[1] != y[1])]
        return (f"{ip} saddr {a[0]} {ip} daddr {b[0]} {l4} sport {a[1]} "
                f"{l4} dport {b[1]} " + " ".join(filter(None, sets)))


def owned(speaker, *flows):
    """Claims flows of the lab, and waits until both ends own them."""
    mine = [speaker.knows(f) for f in flows]
    for f in mine:
        speaker.claim(f)
    for f in mine:
        speaker.until("a flow is confirmed", lambda f=f: f.confirmed, 10)
    check(all(f.id for f in mine), "a flow without a number")
    return mine
