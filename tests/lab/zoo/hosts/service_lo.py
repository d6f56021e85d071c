# SPDX-License-Identifier: GPL-2.0-or-later
"""service_lo: a service address on lo, that the router has a route to"""
from network import BOTH


def setup(p):
    for n in BOTH:
        service = n.ip(99, p.number)
        bits = 32 if n.fam == 4 else 128
        p.ip_do(f"address add {service}/{bits} dev lo")
        p.serves(n, service)
    announce(p, "home", None)


def announce(p, where, number):
    """What a routing daemon tells the router when the host's address is new."""
    for n in BOTH:
        p.router.ip(f"route replace {p.served[n.fam]} via "
                    f"{p.ip(n, where, number)}")
