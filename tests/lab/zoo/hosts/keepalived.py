# SPDX-License-Identifier: GPL-2.0-or-later
"""keepalived: connections begin and end at a virtual address beside the
host's own; IPv6 ones have preferred_lft 0, as keepalived adds them"""
from network import BOTH


def setup(p):
    for n in BOTH:
        vip = p.ip(n, number=100 + p.number)
        p.ip_do(f"address add {vip}/{32 if n.fam == 4 else 128} dev "
                f"{p.uplink} " + ("nodad preferred_lft 0" if n.fam == 6
                                  else ""))
        p.serves(n, vip)
