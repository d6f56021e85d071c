# SPDX-License-Identifier: GPL-2.0-or-later
"""events: what happens to a host of the zoo, as administrators, DHCP clients,
network managers and cables do it.

Each is a function of the place where it happens, and returns when it is
over. Never looks at a connection.
"""
import time

from network import BOTH

EVENTS = {}
OWN_MS = {}


def event(work):
    EVENTS[work.__name__] = work
    OWN_MS.setdefault(work.__name__, 0)
    return work


def outage(own_ms):
    """An event that by its own clock leaves the host without any way for so
    long. A busy machine draws that out, and it is no daemon's fault where it
    took longer with one. Of others the time is that of programs which set
    addresses and routes, and is nobody's own: all of it counts."""
    def register(work):
        OWN_MS[work.__name__] = own_ms
        return event(work)
    return register


def pause(work):
    time.sleep(OWN_MS[work.__name__] / 1000)


@event
def address_change(p):
    """another address in the same subnet"""
    p.add(number=9)
    p.delete()
    p.default()


@outage(300)
def other_subnet(p):
    """another subnet on the same wire, with a gap of 300 ms"""
    p.delete()
    pause(other_subnet)  # between TCP's timers, of 200 ms and of 400
    p.add("other")
    p.default("other")


@event
def other_interface(p):
    """the spare interface comes up, then the first goes down"""
    p.add("spare")
    p.default("spare", "metric", "500")
    time.sleep(0.5)
    p.link(p.uplink, "down")


@outage(1000)
def default_route_flap(p):
    """only the default route goes, for one second"""
    p.no_default()
    pause(default_route_flap)
    p.default()


@outage(1000)
def link_flap(p):
    """the cable is out for one second; a network manager sets it up again"""
    p.link(p.uplink, "down")
    pause(link_flap)
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


@outage(150)  # to start the tunnel's program, where that is a restart
def vpn_up(p):
    """a full tunnel comes up; where it is up, it is restarted"""
    if p.tunnel:
        p.tunnel_down()
    p.tunnel_up()


@outage(900)
def vpn_down(p):
    """a full tunnel goes down; where there is none, it is up for 900 ms"""
    if not p.tunnel:
        p.tunnel_up()
        pause(vpn_down)  # between TCP's timers, of 600 ms and of 1400
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
    time.sleep(1)  # between TCP's timers, of 700 ms and of 1400
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
