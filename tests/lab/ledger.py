# SPDX-License-Identifier: GPL-2.0-or-later
"""ledger: the account of bytes that sacip(7) has, on the wire.

Owns the arithmetic: what a host sent to each address, and what came from
there, in the order in which it passed one port of a switch. Knows the types of
datagrams, which are not secret, and believes nobody who says that he has
answered: the scenario says which addresses can.
"""
import collections
import struct

from packets import UDP, raw, text

INIT, RESP, FIN = 1, 3, 4
FLOW_END, PROBE, PROBE_ACK, MOVE, PROVE, BYE = 18, 22, 23, 32, 35, 42
ANSWERS = {RESP, FIN, PROBE_ACK, PROVE}  # to a challenge
OWN = {INIT, FIN, FLOW_END, PROBE, MOVE, BYE}  # may be sent unasked
OWN_SIZE, OWN_BURST, OWN_EACH_S = 300, 24, 2
VALID_S, LATE_S = 60, 1  # the host may have taken what passed that much later


class Book:
    """Of one address, in the time in which it is not valid."""

    def __init__(self):
        self.came, self.went, self.own, self.free = 0, 0, 0, 0
        self.unpaid, self.valid_s, self.first_s = 0, None, None
        self.all_came, self.all_went = 0, 0

    def is_valid(self, s, late_s):
        return self.valid_s is not None and s < self.valid_s + VALID_S + late_s

    def answered(self, s):
        self.came = self.went = self.own = 0
        self.valid_s, self.first_s = s, None

    def came_in(self, s, size):
        self.all_came += size
        if not self.is_valid(s, -LATE_S):
            self.came += size

    def went_out(self, s, size, kind, may):
        """may: that of its own accord, too."""
        self.all_went += size
        if self.is_valid(s, LATE_S):
            return
        if may and kind in OWN and size <= OWN_SIZE:
            self.first_s = self.first_s or s
            self.own += size
            self.free = OWN_SIZE * (OWN_BURST + 1 +
                                    (s - self.first_s) / OWN_EACH_S)
            self.unpaid = max(self.unpaid,
                              self.went + self.own - self.free - self.came)
        else:
            self.went += size
            self.unpaid = max(self.unpaid, self.went - self.came)


def parse(frame):
    """Source, destination, bytes that UDP or IP carries, the type of a
    message."""
    if frame[12:14] == b"\x08\0":
        src, dst, proto, at = frame[26:30], frame[30:34], frame[23], 34
        size = struct.unpack_from("!H", frame, 16)[0] - 20
    else:
        src, dst, proto, at = frame[22:38], frame[38:54], frame[20], 54
        size = struct.unpack_from("!H", frame, 18)[0]
    if proto == UDP:
        return src, dst, size - 8, frame[at + 8]
    return src, dst, size, None


def books(capture, mac, answering=()):
    """Of each address that the host with that link address has sent to, or
    heard from; answering: those whose answers to a challenge are true."""
    found = collections.defaultdict(Book)
    answering = {raw(a) for a in answering}
    capture.read()
    for frame, ns in zip(capture.frames, capture.times):
        src, dst, size, kind = parse(frame)
        s = ns / 1e9
        if frame[6:12] == mac:
            found[dst].went_out(s, size, kind, dst in answering)
        elif frame[:6] == mac:
            if src in answering and kind in ANSWERS:
                found[src].answered(s)
            found[src].came_in(s, size)
    return {text(a): b for a, b in found.items()}
