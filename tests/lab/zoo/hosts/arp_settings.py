# SPDX-License-Identifier: GPL-2.0-or-later
"""arp_settings: accept_local, arp_ignore and arp_announce, as load balancers
and routers set them"""


def setup(p):
    for dev in "all", p.uplink, p.second:
        p.sysctl(f"net.ipv4.conf.{dev}.accept_local", 1)
        p.sysctl(f"net.ipv4.conf.{dev}.arp_ignore", 1)
        p.sysctl(f"net.ipv4.conf.{dev}.arp_announce", 2)
