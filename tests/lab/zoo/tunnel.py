# SPDX-License-Identifier: GPL-2.0-or-later
"""tunnel: a full tunnel between a place and the router, as wg-quick makes it.

Owns the two processes of tests/lab/tunnel that carry it, one at each end.
As WireGuard does, the far end takes packets only from the address that it
gave to the near one. Routes, rules, the mark and the tables of nft are
wg-quick's; so is that the rules have no preference. Never carries a packet
itself.
"""
import fcntl
import os
import struct
import subprocess

from lab import check
from network import BOTH, V4

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
MARK, TABLE, PORT = 51820, 51820, 51820
SUBNET = 77
# Its addresses are for the tunnel alone; answers to the carrier's datagrams
# get the mark of these, and with it pass a strict reverse path filter.
FIREWALL = """
table PF wg-quick-wg0 {
	chain preraw {
		type filter hook prerouting priority raw;
		iifname != "wg0" PF daddr INNER fib saddr type != local drop
	}
	chain premangle {
		type filter hook prerouting priority mangle;
		meta l4proto udp meta mark set ct mark
	}
	chain postmangle {
		type filter hook postrouting priority mangle;
		meta l4proto udp meta mark MARK ct mark set meta mark
	}
}
"""


def tun(host, name):
    """A tun that nobody carries, there while its descriptor is open."""
    with host:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(),
                                               IFF_TUN | IFF_NO_PI))
    return fd


class End:
    """A process that carries one end. The tun is there while it runs: the
    kernel takes it away before the process can be waited for."""

    def __init__(self, host, side, dev, *args):
        self.process = host.spawn(
            host.lab.program("tunnel"), side, dev, *args, name=f"tunnel.{dev}",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        check(self.process.popen.stdout.readline() == b"ready\n",
              f"{host.name}: no tunnel {dev}: {self.process.text()}")

    def close(self):
        popen = self.process.popen
        popen.stdin.close()
        code = self.process.wait(5)
        popen.stdout.close()
        check(code == 0, f"{self.process.host.name}: {self.process.name} "
                         f"ended with {code}: {self.process.text()}")


class Tunnel:
    def __init__(self, p):
        self.p, name = p, f"wg{p.number}"
        self.inner = {n.fam: n.ip(SUBNET, p.number) for n in BOTH}
        to = p.gateway(V4), PORT + p.number
        self.ends = (End(p.host, "near", "wg0", *to, MARK),
                     End(p.router, "far", name, *to, self.inner[4],
                         self.inner[6]))
        p.router.ip(f"link set {name} up mtu 1420",
                    *(f"route replace {self.inner[n.fam]} dev {name}"
                      for n in BOTH))
        p.host.sysctl("net.ipv4.conf.all.src_valid_mark", 1)
        p.ip_do(*(f"address add {n.cidr(SUBNET, p.number).split('/')[0]} dev "
                  f"wg0 {'nodad' if n.fam == 6 else ''}" for n in BOTH),
                "link set wg0 up mtu 1420")
        for n in BOTH:
            p.ip_do(f"-{n.fam} route add default dev wg0 table {TABLE}",
                    f"-{n.fam} rule add not fwmark {MARK} table {TABLE}",
                    f"-{n.fam} rule add table main suppress_prefixlength 0")
            p.nft(FIREWALL.replace("PF", self._nft(n)).replace(
                "INNER", self.inner[n.fam]).replace("MARK", str(MARK)))

    @staticmethod
    def _nft(n):
        return "ip" if n.fam == 4 else "ip6"

    def down(self):
        for n in BOTH:
            self.p.ip_do(f"-{n.fam} rule del table main suppress_prefixlength 0",
                         f"-{n.fam} rule del not fwmark {MARK} table {TABLE}")
        for e in self.ends:
            e.close()
        for n in BOTH:  # whoever loads his own may have taken it away
            self.p.run("nft", "delete", "table", self._nft(n), "wg-quick-wg0",
                       check=False)
