# SPDX-License-Identifier: GPL-2.0-or-later
"""sacip: the protocol's bytes and keys, a second time.

Written from sacip(7) alone, with other libraries than the daemon's: what the
two do alike is what the page says. Owns messages, the handshake, sessions and
their MACs. Never touches a socket, a clock or a flow, and judges nothing that
the page leaves to policy: a bad peer is built of the same parts.
"""
import hashlib
import hmac
import os
import socket
import struct
from multiprocessing import Value
from types import SimpleNamespace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey, X25519PublicKey)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat, PublicFormat)

VERSION, PORT = 1, 1021
INIT, RETRY, RESP, FIN = 1, 2, 3, 4
SIZES = {INIT: 156, RETRY: 32, RESP: 156, FIN: 124}
HEADER = struct.Struct(">BBHIQ")
TCP, UDP = 6, 17
REASONS = {n: i for i, n in enumerate(
    "none young no_peer policy unconnected nat bound tcp_md5 mptcp loopback "
    "multicast link_local rewritten flow_owned tuple_taken retry proxy "
    "unknown_flow digest family limit key_mismatch key_revoked "
    "unprivileged_port system ended no_address no_answer peer_away later "
    "tunnel path_blocked path_untried local_route".split())}


class Malformed(ValueError):
    """A datagram that its receiver drops without a word."""


def blake2b(size, data, key=b""):
    return hashlib.blake2b(data, digest_size=size, key=key).digest()


# --- notation: each kind of value has a writer and a reader -----------------

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        self.at += size
        if self.at > len(self.data):
            raise Malformed("too short")
        return self.data[self.at - size:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")


def put_addr(text):
    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text)
    return bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, text)


def get_addr(r):
    raw = r.take(16)
    if raw[:12] == bytes(10) + b"\xff\xff":
        if not any(raw[12:]):
            raise Malformed("no address")
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    if not any(raw):
        raise Malformed("no address")
    return socket.inet_ntop(socket.AF_INET6, raw)


def put_endpoint(e):
    return put_addr(e[0]) + struct.pack(">H", e[1])


def get_endpoint(r):
    addr, port = get_addr(r), r.number(2)
    if not port:
        raise Malformed("no port")
    return addr, port


def put_proof(p):
    """(0, None), (1, tag), (2, (nonce, (seq, ack, tsval, tsecr)))"""
    kind, value = p
    if kind == 2:
        return b"\2" + value[0] + struct.pack(">IIII", *value[1])
    return bytes((kind,)) + (value if kind else b"")


def get_proof(r):
    kind = r.number(1)
    if kind > 2:
        raise Malformed("kind of proof")
    if kind == 1:
        return kind, r.take(16)
    if kind == 2:
        return kind, (r.take(16), tuple(r.number(4) for _ in range(4)))
    return kind, None


def listing(most, *fields, zero=False):
    """A count, and after it (`zero`: and a zero byte) as many entries."""
    def put(entries):
        if len(entries) > most:
            raise Malformed("list")
        return bytes((len(entries),)) + bytes(zero) + b"".join(
            put_fields(fields, e) for e in entries)

    def get(r):
        n = r.number(1)
        if n > most or zero and r.number(1):
            raise Malformed("list")
        return [get_fields(fields, r) for _ in range(n)]
    return put, get


def number(size, most=None, least=0):
    def get(r):
        value = r.number(size)
        if value < least or most is not None and value > most:
            raise Malformed("out of range")
        return value
    return lambda v: v.to_bytes(size, "big"), get


def raw(size):
    return lambda v: v, lambda r: r.take(size)


u8, u16, u32, u64, x16 = number(1), number(2), number(4), number(8), raw(16)
ONE_FLAG, PARTS = number(1, most=1), number(2, least=1, most=8192)
addr, endpoint = (put_addr, get_addr), (put_endpoint, get_endpoint)
place = (("track", u32), ("seq", u64), ("at", addr), ("flags", ONE_FLAG))
IDS = (("flow_id", u64),)
MOVE_HEAD = (("track", u32), ("seq", u64))


def put_fields(fields, values):
    return b"".join(put(getattr(values, name)) for name, (put, _) in fields)


def get_fields(fields, r):
    return SimpleNamespace(**{name: get(r) for name, (_, get) in fields})


FLOWS_HEAD = (("batch", u32), ("part", u16), ("parts", PARTS))
MESSAGES = {
    "FLOWS": (16, FLOWS_HEAD + (("flags", ONE_FLAG), ("flows", listing(
        14, *IDS, *place, ("proto", u8), ("src", endpoint), ("dst", endpoint),
        ("proof", (put_proof, get_proof)))))),
    "FLOWS_ACK": (17, FLOWS_HEAD + (("flows", listing(
        20, *IDS, *place, ("reason", u8),
        ("proof", (put_proof, get_proof)), zero=True)),)),
    "FLOW_END": (18, (("flows", listing(128, *IDS)),)),
    "FLOW_END_ACK": (19, (("flows", listing(128, *IDS)),)),
    "PROBE": (22, (("token", x16),)),
    "PROBE_ACK": (23, (("token", x16),)),
    "MOVE": (32, MOVE_HEAD + (
        ("from_", addr), ("to", addr), ("flags", ONE_FLAG), ("count", u32),
        ("digest", x16), ("part", u16), ("parts", PARTS),
        ("ports", listing(100, *IDS, ("port", number(2, least=1)))))),
    "ACCEPT": (33, MOVE_HEAD + (
        ("challenge", x16), ("lease_s", u16),
        ("flows", listing(120, *IDS, ("reason", u8))))),
    "REFUSE": (34, MOVE_HEAD + (("reason", u8), ("flows", listing(128, *IDS)))),
    "PROVE": (35, MOVE_HEAD + (
        ("challenge", x16), ("to", addr),
        ("flows", listing(64, *IDS, ("rcv_nxt", u32))))),
    "DONE": (36, MOVE_HEAD),
    "SYNC": (37, (
        ("own", listing(24, *MOVE_HEAD, ("locator", addr))),
        ("theirs", listing(24, ("track", u32), ("committed", u64))),
        ("flow_count", u32), ("digest", x16))),
    "SYNC_ACK": (38, ()),
    "BYE": (42, (("reason", u8),)),
}
MESSAGES["SYNC_ACK"] = (38, MESSAGES["SYNC"][1])
NAMES = {number: name for name, (number, _) in MESSAGES.items()}


def message(name, **fields):
    return SimpleNamespace(name=name, **fields)


def put_body(m):
    return put_fields(MESSAGES[m.name][1], m)


def get_body(name, data):
    r = Reader(data)
    m = get_fields(MESSAGES[name][1], r)
    if getattr(m, "parts", 1) <= getattr(m, "part", 0):
        raise Malformed("part")
    while r.at < len(data):
        kind = r.number(1)
        r.take(r.number(1))
        if kind >= 128:
            raise Malformed("critical TLV")
    m.name = name
    return m


def digest(flow_ids):
    """Names a set of flows, with its count."""
    total = 0
    for i in flow_ids:
        total ^= int.from_bytes(blake2b(16, struct.pack(">Q", i)), "big")
    return total.to_bytes(16, "big")


def tag(ends, fresh):
    """Names beforehand what will go on a flow; ends: the public keys of who
    offers and who answers."""
    return blake2b(16, b"sacip tag" + b"".join(ends) + fresh)


def answer(ends, fresh):
    """What the answer to it begins with."""
    return blake2b(8, b"sacip answer" + b"".join(ends) + fresh)


def nonce_mac(challenge, way, track, seq, flow_id, numbers=(0, 0, 0, 0)):
    """numbers: seq, ack, tsval, tsecr of the packet"""
    return blake2b(16, b"sacip nonce" + struct.pack(
        ">BIQQ4I", way, track, seq, flow_id, *numbers), challenge)


def nonce_options(mac, stamps=b""):
    """Of a TCP nonce; stamps: the option with the time stamps, if any."""
    options = struct.pack(">HI", 0xfe16, 0x53414349) + mac + stamps
    return options + bytes(-len(options) % 4)


# --- keys and the handshake -------------------------------------------------

class Key:
    """An X25519 key pair."""

    def __init__(self, private=None):
        self.key = (X25519PrivateKey.from_private_bytes(private) if private
                    else X25519PrivateKey.generate())
        self.private = self.key.private_bytes(
            Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        self.public = self.key.public_key().public_bytes(
            Encoding.Raw, PublicFormat.Raw)

    def dh(self, public):
        try:
            return self.key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise Malformed("a DH result of zeros") from None


def hkdf(key, data, outputs):
    def mac(k, d):
        return hmac.digest(k, d, "blake2b")
    temp, last, out = mac(key, data), b"", []
    for i in range(outputs):
        last = mac(temp, last + bytes((i + 1,)))
        out.append(last)
    return out


def nonce(counter):
    return bytes(4) + struct.pack("<Q", counter)


class Noise:
    """Noise_XX_25519_ChaChaPoly_BLAKE2b, as far as two ends share it."""

    def __init__(self):
        name = b"Noise_XX_25519_ChaChaPoly_BLAKE2b"
        self.h = self.ck = name.ljust(64, b"\0")
        self.key, self.n = None, 0
        self.mix_hash(b"SACIP" + bytes((VERSION,)))

    def mix_hash(self, data):
        self.h = blake2b(64, self.h + data)

    def mix_key(self, secret):
        self.ck, key = hkdf(self.ck, secret, 2)
        self.key, self.n = key[:32], 0

    def seal(self, plain):
        out = ChaCha20Poly1305(self.key).encrypt(nonce(self.n), plain, self.h)
        self.mix_hash(out)
        self.n += 1
        return out

    def open(self, sealed):
        try:
            plain = ChaCha20Poly1305(self.key).decrypt(nonce(self.n), sealed,
                                                       self.h)
        except InvalidTag:
            raise Malformed("does not decrypt") from None
        self.mix_hash(sealed)
        self.n += 1
        return plain

    def split(self):
        """The key of what I sends, and that of what R sends."""
        return [k[:32] for k in hkdf(self.ck, b"", 2)]


def mac1(init, responder):
    return blake2b(16, init[:16] + init[48:],
                   blake2b(32, b"sacip mac1" + responder))


def identity(index, src, dst):
    """The sealed payload of RESP and FIN."""
    return struct.pack(">II", index, 0) + put_endpoint(src) + put_endpoint(dst)


def get_identity(plain):
    r = Reader(plain)
    index, _ = r.number(4), r.number(4)
    if not index:
        raise Malformed("index 0")
    return index, get_endpoint(r), get_endpoint(r)


def header(data):
    """type, index and counter of a datagram."""
    if len(data) < 16:
        raise Malformed("too short")
    kind, version, zero, index, counter = HEADER.unpack_from(data)
    if version != VERSION or zero or kind not in SIZES and kind not in NAMES:
        raise Malformed("header")
    if kind in SIZES and (len(data) != SIZES[kind] or counter or
                          (kind == INIT) != (not index)):
        raise Malformed("handshake")
    return kind, index, counter


def init_hash(data):
    """By which crossing INITs are told apart, of one that came."""
    noise = Noise()
    noise.mix_hash(data[48:80])
    noise.mix_hash(data[80:88])
    return noise.h


class Initiator:
    def __init__(self, static, responder=None, ephemeral=None, index=None):
        self.static, self.responder = static, responder
        self.e, self.noise = ephemeral or Key(), Noise()
        self.index = index or 1 + int.from_bytes(os.urandom(3), "big")
        self.cookie = bytes(16)
        payload = struct.pack(">HHI", VERSION, VERSION, self.index)
        self.noise1 = self.e.public + payload
        self.noise.mix_hash(self.e.public)
        self.noise.mix_hash(payload)
        self.hash = self.noise.h

    def init(self):
        out = HEADER.pack(INIT, VERSION, 0, 0, 0) + self.cookie + bytes(
            16) + self.noise1 + bytes(68)
        m = mac1(out, self.responder) if self.responder else bytes(16)
        return out[:32] + m + out[48:]

    def retry(self, data):
        self.cookie = data[16:32]

    def resp(self, data, src, dst):
        """FIN and the session; src and dst are those of the FIN."""
        noise, e = self.noise, data[16:48]
        noise.mix_hash(e)
        noise.mix_key(self.e.dh(e))
        public = noise.open(data[48:96])
        if public == self.static.public:
            raise Malformed("myself")
        noise.mix_key(self.e.dh(public))
        index, far, near = get_identity(noise.open(data[96:]))
        fin = HEADER.pack(FIN, VERSION, 0, index, 0)
        fin += noise.seal(self.static.public)
        noise.mix_key(self.static.dh(e))
        fin += noise.seal(identity(self.index, src, dst))
        sends, takes = noise.split()
        return fin, Session(self.index, index, public, sends, takes,
                            noise.h, nat=(far, near) != (dst, src))


class Responder:
    def __init__(self, static, ephemeral=None, index=None):
        self.static, self.e, self.noise = static, ephemeral or Key(), Noise()
        self.index = index or 1 + int.from_bytes(os.urandom(3), "big")

    def init(self, data, src, dst):
        """The RESP to an INIT; src and dst are those of the RESP."""
        low, high, self.theirs = struct.unpack(">HHI", data[80:88])
        if not low <= VERSION <= high or not self.theirs or any(data[88:]):
            raise Malformed("INIT")
        noise, e = self.noise, data[48:80]
        noise.mix_hash(e)
        noise.mix_hash(data[80:88])
        noise.mix_hash(self.e.public)
        noise.mix_key(self.e.dh(e))
        out = HEADER.pack(RESP, VERSION, 0, self.theirs, 0) + self.e.public
        out += noise.seal(self.static.public)
        noise.mix_key(self.static.dh(e))
        return out + noise.seal(identity(self.index, src, dst))

    def fin(self, data, src, dst):
        """The session; src and dst are those of the FIN."""
        noise = self.noise
        public = noise.open(data[16:64])
        if public == self.static.public:
            raise Malformed("myself")
        noise.mix_key(self.e.dh(public))
        index, far, near = get_identity(noise.open(data[64:]))
        if index != self.theirs:
            raise Malformed("another index")
        takes, sends = noise.split()
        return Session(self.index, index, public, sends, takes,
                       noise.h, nat=(far, near) != (src, dst))


class Session:
    """Two keys and two counters."""

    WINDOW = 2048

    def __init__(self, index, theirs, public, sends, takes, hash_,
                 nat=False):
        self.index, self.theirs, self.public = index, theirs, public
        self.sends, self.takes = sends, takes
        self.hash, self.nat = hash_, nat
        self.numbers = Value("Q", 0)  # of all processes that seal with it
        self.high, self.taken = -1, set()

    @property
    def counter(self):
        return self.numbers.value

    @counter.setter
    def counter(self, number):
        self.numbers.value = number

    def _number(self):
        with self.numbers.get_lock():
            self.numbers.value += 1
            return self.numbers.value - 1

    def seal(self, m, src, dst, tlvs=b""):
        return self.seal_raw(MESSAGES[m.name][0], put_body(m) + tlvs, src, dst)

    def seal_raw(self, kind, body, src, dst):
        number = self._number()
        head = HEADER.pack(kind, VERSION, 0, self.theirs, number)
        plain = put_endpoint(src) + put_endpoint(dst) + body
        return head + ChaCha20Poly1305(self.sends).encrypt(
            nonce(number), plain, head)

    def open(self, data, src, dst):
        kind, _, counter = header(data)
        if counter in self.taken or counter + self.WINDOW <= self.high:
            raise Malformed("counter")
        try:
            plain = ChaCha20Poly1305(self.takes).decrypt(
                nonce(counter), data[16:], data[:16])
        except InvalidTag:
            raise Malformed("does not open") from None
        if plain[:36] != put_endpoint(src) + put_endpoint(dst):
            raise Malformed("other addresses")
        self.high = max(self.high, counter)
        self.taken.add(counter)
        if len(self.taken) > 2 * self.WINDOW:
            self.taken = {c for c in self.taken if c + self.WINDOW > self.high}
        return get_body(NAMES[kind], plain[36:])
