# SPDX-License-Identifier: GPL-2.0-or-later
"""events: what happens to a host of the zoo, as administrators, DHCP clients,
network managers and cables do it.

Each is a function of the place where it happens, and returns when it is
over. Never looks at a connection.
"""
import time

from network import BOTH

EVENTS = {}


def event(work):
    EVENTS[work.__name__] = work
    return work


@event
def address_change(p):
    """another address in the same subnet"""
    p.add(number=9)
    p.delete()
    p.default()


@event
def other_subnet(p):
    """another subnet on the same wire, with a gap of 300 ms"""
    p.delete()
    time.sleep(0.3)  # between TCP's timers, of 200 ms and of 400
    p.add("other")
    p.default("other")


@event
def other_interface(p):
    """the spare interface comes up, then the first goes down"""
    p.add("spare")
    p.default("spare", "metric", "500")
    time.sleep(0.5)
    p.link(p.uplink, "down")


@event
def default_route_flap(p):
    """only the default route goes, for one second"""
    p.no_default()
    time.sleep(1)
    p.default()


@event
def link_flap(p):
    """the cable is out for one second; a network manager sets it up again"""
    p.link(p.uplink, "down")
    time.sleep(1)
    p.link(p.uplink, "up")
    p.add()
    p.default()


@event
def renumbering(p):
    """a new prefix comes, the old one is deprecated, then goes"""
    p.add("other")
    p.add(how="preferred_lft 0 valid_lft 60", families=BOTH[1:])
    p.default("other")
    time.sleep(1)
    p.delete()


@event
def vpn_up(p):
    """a full tunnel comes up; where it is up, it is restarted"""
    if p.tunnel:
        p.tunnel_down()
    p.tunnel_up()


@event
def vpn_down(p):
    """a full tunnel goes down; where there is none, it is up for 900 ms"""
    if not p.tunnel:
        p.tunnel_up()
        time.sleep(0.9)  # between TCP's timers, of 600 ms and of 1400
    p.tunnel_down()


@event
def firewall_reload(p):
    """the firewall is loaded anew"""
    p.reload()


@event
def home_again(p):
    """away to another address and back"""
    p.add(number=9)
    p.delete()
    p.default()
    time.sleep(1.5)
    p.add()
    p.delete(number=9)
    p.default()


@event
def metric_change(p):
    """the spare interface gets the better metric; nothing has to move"""
    p.add("spare")
    p.default("spare", "metric", "500")
    time.sleep(0.5)
    p.no_default()
    p.default("home", "metric", "600")


@event
def nothing(p):
    """nothing at all, for 20 s"""
    time.sleep(20)
