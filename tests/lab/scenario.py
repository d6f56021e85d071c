# SPDX-License-Identifier: GPL-2.0-or-later
"""scenario: the register of scenarios, and the networks most of them use.

Owns names and what a scenario needs. Never runs one.
"""
import collections
import inspect

Scenario = collections.namedtuple(
    "Scenario", "name work needs alone timeout long control text module")
SCENARIOS = {}


class Net:
    """Addresses of either family: subnet and host, both small numbers."""

    def __init__(self, fam):
        self.fam = fam
        self.any = "0.0.0.0/0" if fam == 4 else "::/0"

    def ip(self, subnet, host):
        return (f"10.{subnet}.0.{host}" if self.fam == 4
                else f"fd00:{subnet}::{host}")

    def cidr(self, subnet, host):
        return self.ip(subnet, host) + ("/24" if self.fam == 4 else "/64")

    @property
    def proto(self):
        return "ip" if self.fam == 4 else "ip6"


def scenario(fam=None, needs=(), alone=False, timeout=60, long=False,
             control=None):
    """fam: one scenario per family, given a Net. alone: measures time, or fills
    the machine by itself, so at most two others run beside it. long: only with
    --all. control: what becomes of the flows where there are no daemons (run
    --control): "dies", "lives"."""

    def register(work):
        for f in fam or (None,):
            name = work.__name__ + (f"_v{f}" if f else "")

            def run(lab, work=work, f=f):
                return work(lab, Net(f)) if f else work(lab)
            assert name not in SCENARIOS, name
            SCENARIOS[name] = Scenario(
                name, run, needs, alone, timeout, long, control,
                inspect.getdoc(work) or "", work.__module__)
        return work
    return register


def nodad(n):
    """How a scenario adds an address when DAD is not what it is about."""
    return "nodad" if n.fam == 6 else ""


def lan(lab, n, *more):
    """
        client .1.2 ---- lan ---- .1.3 server     `more`: further lines
    """
    return lab.build("\n".join((
        f"client eth0 {n.cidr(1, 2)} lan",
        f"server eth0 {n.cidr(1, 3)} lan", *more)))


def routed(lab, n, *more):
    """
        client eth0 .1.2 ---- lan1 ---- .1.1 eth0
                                    (and .4.1) router eth1 .2.1 -- lan2 -- .2.3 server
        client eth1  -   ---- lan3 ---- .3.1 eth2
    """
    return lab.build("\n".join((
        f"client eth0 {n.cidr(1, 2)} lan1 via {n.ip(1, 1)}",
        f"router eth0 {n.cidr(1, 1)},{n.cidr(4, 1)} lan1",
        f"router eth1 {n.cidr(2, 1)},{n.cidr(5, 1)} lan2",
        f"server eth0 {n.cidr(2, 3)} lan2 via {n.ip(2, 1)}",
        "client eth1 - lan3",
        f"router eth2 {n.cidr(3, 1)} lan3", *more)))
