# SPDX-License-Identifier: GPL-2.0-or-later
"""wg_quick: a full tunnel is up; connections begin inside it"""
from network import BOTH


def setup(p):
    p.tunnel_up()
    for n in BOTH:
        p.serves(n, p.tunnel.inner[n.fam])
