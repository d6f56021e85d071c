# SPDX-License-Identifier: GPL-2.0-or-later
"""strict_rp: rp_filter 1 on every interface"""


def setup(p):
    for dev in "all", "default", p.uplink, p.second:
        p.sysctl(f"net.ipv4.conf.{dev}.rp_filter", 1)
