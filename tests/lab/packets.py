# SPDX-License-Identifier: GPL-2.0-or-later
"""packets: frames made or changed by hand, for strangers and attackers.

Owns the layout of Ethernet, ARP, IPv4, IPv6, TCP, UDP and neighbour
solicitations as far as the lab needs them. Never decides where they go.
"""
import socket
import struct

TCP, UDP, ICMP6 = 6, 17, 58
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def csum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def raw(addr):
    fam = socket.AF_INET6 if ":" in addr else socket.AF_INET
    return socket.inet_pton(fam, addr)


def text(data):
    fam = socket.AF_INET6 if len(data) == 16 else socket.AF_INET
    return socket.inet_ntop(fam, data)


def ip(src, dst, proto, payload, hops=64):
    """`payload` has its checksum to be filled at the place of its kind."""
    at = {TCP: 16, UDP: 6, ICMP6: 2}[proto]
    s, d = raw(src), raw(dst)
    if len(s) == 4:
        pseudo = s + d + struct.pack("!BBH", 0, proto, len(payload))
    else:
        pseudo = s + d + struct.pack("!IHBB", len(payload), 0, 0, proto)
    payload = payload[:at] + b"\0\0" + payload[at + 2:]
    c = csum(pseudo + payload)
    if proto == UDP and not c:
        c = 0xffff
    payload = payload[:at] + struct.pack("!H", c) + payload[at + 2:]
    if len(s) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), proto,
                           hops) + s + d + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000,
                       hops, proto, 0) + s + d
    return head[:10] + struct.pack("!H", csum(head)) + head[12:] + payload


def tcp(sport, dport, seq, ack, flags, window=1000):
    return struct.pack("!HHIIBBHHH", sport, dport, seq & 0xffffffff,
                       ack & 0xffffffff, 0x50, flags, window, 0, 0)


def udp(sport, dport, payload):
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def ether(dst, src, packet):
    kind = 0x86dd if packet[0] >> 4 == 6 else 0x0800
    return dst + src + struct.pack("!H", kind) + packet


def arp_request(src_mac, src, target):
    return (b"\xff" * 6 + src_mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800,
                                                6, 4, 1)
            + src_mac + raw(src) + bytes(6) + raw(target))


def solicitation(src_mac, src, target):
    t = raw(target)
    group = raw("ff02::1:ff00:0")[:13] + t[13:]
    body = struct.pack("!BBHI", 135, 0, 0, 0) + t + b"\1\1" + src_mac
    return ether(b"\x33\x33" + group[12:], src_mac,
                 ip(src, text(group), ICMP6, body, 255))


def advertisement(src_mac, src, prefix, valid_s, preferred_s):
    """A router advertisement for one /64, on the link and for addresses."""
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    body += struct.pack("!BBBBIII", 3, 4, 64, 0xc0, valid_s, preferred_s,
                        0) + raw(prefix)
    return ether(b"\x33\x33\0\0\0\1", src_mac,
                 ip(src, "ff02::1", ICMP6, body, 255))


class Parsed:
    """Addresses, ports and payload of a captured TCP or UDP frame."""

    def __init__(self, frame):
        p = frame[14:]
        if p[0] >> 4 == 4:
            self.proto, head = p[9], (p[0] & 15) * 4
            self.src, self.dst = text(p[12:16]), text(p[16:20])
            size = struct.unpack("!H", p[2:4])[0] - head
        else:
            self.proto, head = p[6], 40
            self.src, self.dst = text(p[8:24]), text(p[24:40])
            size = struct.unpack("!H", p[4:6])[0]
        self.l4 = p[head:head + size]
        self.sport, self.dport = struct.unpack("!HH", self.l4[:4])
        if self.proto == TCP:
            self.seq, self.ack = struct.unpack("!II", self.l4[4:12])
            self.flags = self.l4[13]
            options = (self.l4[12] >> 4) * 4
            self.payload = self.l4[options:]
            # by the header: the capture may have cut the payload
            self.end = (self.seq + size - options) & 0xffffffff
        else:
            self.payload = self.l4[8:]


class Injector:
    """Sends whole frames from a host's interface."""

    def __init__(self, host, dev):
        self.mac = host.mac(dev)
        self.sock = host.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sock.bind((dev, 0))

    def frame(self, frame):
        self.sock.send(frame)

    def packet(self, dst_mac, packet):
        """With its own source address on the link, so that the switch goes
        on sending the victim's frames to the victim."""
        self.sock.send(ether(dst_mac, self.mac, packet))
