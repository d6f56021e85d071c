# SPDX-License-Identifier: GPL-2.0-or-later
"""tunnel: a full tunnel between a place and the router, as wg-quick makes it.

A tun at each end and UDP between them, carried by threads of this process.
As WireGuard does, the far end takes packets only from the address that it
gave to the near one. Routes, rules and the mark are wg-quick's; so is that
the rules have no preference. Never encrypts.
"""
import fcntl
import os
import select
import socket
import struct
import threading

from network import BOTH, V4

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
SO_MARK = 36
MARK, TABLE, PORT = 51820, 51820, 51820
SUBNET = 77


def tun(host, name):
    with host:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(),
                                               IFF_TUN | IFF_NO_PI))
    return fd


class Tunnel:
    def __init__(self, p):
        self.p, self.name = p, f"wg{p.number}"
        self.inner = {n.fam: n.ip(SUBNET, p.number) for n in BOTH}
        self.near, self.far = tun(p.host, "wg0"), tun(p.router, self.name)
        self.out = p.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.out.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
        self.end = p.router.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.end.bind((p.gateway(V4), PORT + p.number))
        self.to = p.gateway(V4), PORT + p.number
        self.stop_r, self.stop_w = os.pipe()
        p.router.ip(f"link set {self.name} up mtu 1420",
                    *(f"route replace {self.inner[n.fam]} dev {self.name}"
                      for n in BOTH))
        p.host.sysctl("net.ipv4.conf.all.src_valid_mark", 1)
        p.ip_do(*(f"address add {n.cidr(SUBNET, p.number).split('/')[0]} dev "
                  f"wg0 {'nodad' if n.fam == 6 else ''}" for n in BOTH),
                "link set wg0 up mtu 1420")
        self.thread = threading.Thread(target=self._carry, daemon=True)
        self.thread.start()
        for n in BOTH:
            p.ip_do(f"-{n.fam} route add default dev wg0 table {TABLE}",
                    f"-{n.fam} rule add not fwmark {MARK} table {TABLE}",
                    f"-{n.fam} rule add table main suppress_prefixlength 0")

    def _carry(self):
        there = None
        fds = [self.near, self.far, self.out, self.end, self.stop_r]
        while True:
            for fd in select.select(fds, [], [])[0]:
                if fd == self.stop_r:
                    return
                try:
                    if fd == self.near:
                        self.out.sendto(os.read(fd, 65536), self.to)
                    elif fd == self.far and there:
                        self.end.sendto(os.read(fd, 65536), there)
                    elif fd == self.out:
                        os.write(self.near, self.out.recv(65536))
                    elif fd == self.end:
                        packet, there = self.end.recvfrom(65536)
                        if self._is_given(packet):
                            os.write(self.far, packet)
                except OSError:
                    pass  # an outage: datagrams may be lost

    def _is_given(self, packet):
        if packet[0] >> 4 == 4:
            return socket.inet_ntop(socket.AF_INET,
                                    packet[12:16]) == self.inner[4]
        return socket.inet_ntop(socket.AF_INET6, packet[8:24]) == self.inner[6]

    def down(self):
        for n in BOTH:
            self.p.ip_do(f"-{n.fam} rule del table main suppress_prefixlength 0",
                         f"-{n.fam} rule del not fwmark {MARK} table {TABLE}")
        os.write(self.stop_w, b"x")
        self.thread.join(5)
        for fd in self.near, self.far, self.stop_r, self.stop_w:
            os.close(fd)
        self.out.close()
        self.end.close()
