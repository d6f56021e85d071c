# SPDX-License-Identifier: GPL-2.0-or-later
"""Smaller packets on the new path: what the kernel must learn, it learns."""
from flows import copy
from scenario import nodad, scenario

MORE = 10 << 20


def moves_onto(lab, n, far_mtu, own_mtu):
    """
        client eth0 .1.2 -- lan1 -- .1.1 router eth1 .2.1 -- lan2 -- .2.3 server
        client eth1 .3.9 -- lan3 -- .3.1 routerb .5.2 -- lan5 -- .5.1 router
    """
    own, far = (f" mtu {m}" if m else "" for m in (own_mtu, far_mtu))
    client, router, server, b = lab.build(f"""
        client  eth0 {n.cidr(1, 2)} lan1 via {n.ip(1, 1)}
        router  eth0 {n.cidr(1, 1)} lan1
        router  eth1 {n.cidr(2, 1)} lan2
        server  eth0 {n.cidr(2, 3)} lan2 via {n.ip(2, 1)}
        client  eth1 -              lan3{own}
        routerb eth0 {n.cidr(3, 1)} lan3{own}
        routerb eth1 {n.cidr(5, 2)} lan5{far} via {n.ip(5, 1)}
        router  eth2 {n.cidr(5, 1)} lan5{far}
    """)
    router.route(n.cidr(3, 0) if n.fam == 4 else "fd00:3::/64", "via",
                 n.ip(5, 2))
    lab.daemons(client, server)
    copies = [copy(client, server, "up", fam=n.fam),
              copy(client, server, "down", fam=n.fam)]
    lab.protected(*copies)
    resets = lab.capture(server, "eth0", "tcp[13] & 4 != 0" if n.fam == 4 else
                         "ip6[6] == 6 and ip6[53] & 4 != 0")
    client.add("eth1", n.cidr(3, 9), nodad(n))
    client.route("default via", n.ip(3, 1), "dev eth1")
    client.link("eth0", "down")
    lab.settled(*copies, client=n.ip(3, 9))
    for c in copies:
        c.reaches(c.receiver.rx_bytes + MORE)
    if not lab.without_daemons:
        resets.none("resets")
    for c in copies:
        c.finish()


@scenario(fam=(4, 6), control="dies")
def smaller_mtu_at_a_router(lab, n):
    moves_onto(lab, n, 1400, None)


@scenario(fam=(4, 6), control="dies")
def smaller_mtu_at_the_own_interface(lab, n):
    moves_onto(lab, n, None, 1400)


@scenario(fam=(4, 6), control="dies")
def smaller_mtu_at_both(lab, n):
    moves_onto(lab, n, 1320, 1400)
