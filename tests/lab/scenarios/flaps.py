# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes and comes back: routes, links, addresses. Two hosts without a
daemon live beside the two with, the same happens to both at the same time, and
whoever has a daemon must not be worse off."""
import time

from flows import copy, echo, stream, udp
from lab import Died, Failed, Skip, check
from scenario import nodad, scenario

SLACK_MS = 50
TIMER_MS = 1000
TIMER_PART = 0.15
RTT_MS = 1
ROUNDS = 3


def slack_ms(flow, gap_ms):
    """TCP's gap is a sum of timers that vary with the round trips before."""
    return max(SLACK_MS, TIMER_PART * gap_ms if flow.proto == "tcp" else 0)


class Twins:
    """
        client .1.2 ---- lan1 ---- .1.1 router .2.1 ---- lan2 ---- .2.3 server
        plain  .1.5 -/                                       \\---- .2.5 bystander
    """

    KINDS = ((echo, {}), (copy, {"kind": "up"}), (stream, {"kind": "up"}),
             (stream, {"kind": "down"}), (udp, {"kind": "up"}), (udp, {}))

    def __init__(self, lab, n, kinds=KINDS):
        self.lab, self.n, self.rounds = lab, n, []
        self.client, _, server, self.plain, bystander = lab.build(f"""
            client    eth0 {n.cidr(1, 2)} lan1 via {n.ip(1, 1)}
            router    eth0 {n.cidr(1, 1)} lan1
            router    eth1 {n.cidr(2, 1)} lan2
            server    eth0 {n.cidr(2, 3)} lan2 via {n.ip(2, 1)}
            plain     eth0 {n.cidr(1, 5)} lan1 via {n.ip(1, 1)}
            bystander eth0 {n.cidr(2, 5)} lan2 via {n.ip(2, 1)}""")
        lab.daemons(self.client, server)
        self.pairs = [[how(a, b, fam=n.fam, **kw) for a, b in (
            (self.client, server), (self.plain, bystander))]
            for how, kw in kinds]
        lab.protected(*(ours for ours, _ in self.pairs))

    def both(self, *steps):
        for host, own in (self.client, 2), (self.plain, 5):
            for step in steps:
                step(host, own)

    def no_default(self, host, _):
        host.ip(f"route del default via {self.n.ip(1, 1)}")

    def default(self, host, _):
        host.route("default via", self.n.ip(1, 1), "dev eth0")

    def again(self, host, own):
        """IPv4 loses the route with the address."""
        cidr = self.n.cidr(1, own)
        host.ip(f"address del {cidr} dev eth0",
                f"address add {cidr} dev eth0 {nodad(self.n)}",
                f"route replace default via {self.n.ip(1, 1)} dev eth0")

    def no_route_for_a_second(self):
        self.both(self.no_default)
        time.sleep(1)
        self.both(self.default)

    def round(self, event):
        flows = [f for pair in self.pairs for f in pair]
        for f in flows:
            f.goes_on()
            f.forget_gap()
        event()
        for f in flows:
            f.goes_on(timeout=8)
        self.rounds.append([[f.gap_ms for f in pair] for pair in self.pairs])

    def late(self):
        """Which were longer by a timer in any of the last rounds."""
        return {i for r in self.rounds[-ROUNDS:]
                for i, (a, b) in enumerate(r) if a - b > TIMER_MS}

    def compare(self, event):
        """The best of some rounds: other programs run on the machine. But a
        route that leads nowhere may be found now and then only, and then costs
        TCP a timer more. So does a timer that ends a moment too early; that is
        not seen twice. Returns what was measured."""
        late = set(range(len(self.pairs)))
        for _ in range(2):
            for _ in range(ROUNDS if late else 0):
                self.round(event)
            late &= self.late()
        text, longer = [], []
        for i, (ours, _) in enumerate(self.pairs):
            gaps = [r[i] for r in self.rounds]
            text.append(f"{ours.proto} {ours.kind} " + ", ".join(
                f"{a:.0f} ms ({b:.0f} without)" for a, b in gaps))
            if i in late or min(a - b - slack_ms(ours, b)
                                for a, b in gaps) > RTT_MS:
                longer.append(text[-1])
        print("\n".join(text))
        check(not longer or self.lab.without_daemons,
              f"longer than without: {'; '.join(longer)}")
        for pair in self.pairs:
            for f in pair:
                self.finish(f)
        return "; ".join(text)

    @staticmethod
    def finish(f):
        try:
            f.finish()
        except Died as e:
            # said to a datagram while there was no route: an answer, no end
            if f.proto != "udp" or "UNREACH" not in str(e):
                raise
        except Failed as e:
            # One that the tripwire has caught may come behind the next one;
            # without a daemon it is lost.
            if f.proto != "udp" or " 0 duplicates, " not in str(e):
                raise


@scenario(fam=(4, 6), alone=True)
def only_the_default_route_goes(lab, n):
    """The route is away for a second, the address stays. What a socket learns
    meanwhile, the guard's route, is forgotten when its own is back; and TCP
    knows that nothing was sent."""
    twins = Twins(lab, n)

    return twins.compare(twins.no_route_for_a_second)


@scenario(fam=(4, 6), alone=True)
def the_default_route_goes_after_a_move(lab, n):
    """The same where packets are rewritten, and take the guard's route then.
    Where the daemon rewrites them TCP has heard by then that they are sent."""
    if lab.conf["rewrite"] == "queue":
        raise Skip("only where the kernel rewrites")
    twins = Twins(lab, n)
    twins.client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    twins.default(twins.client, 9)
    lab.settled(*(ours for ours, _ in twins.pairs), client=n.ip(1, 9))
    return twins.compare(twins.no_route_for_a_second)


@scenario(fam=(4, 6), alone=True)
def the_link_is_out_for_a_second(lab, n):
    """The cable; a network manager sets the interface up again."""
    twins = Twins(lab, n)

    def up(host, own):
        host.link("eth0", "up")
        host.ip(f"address replace {n.cidr(1, own)} dev eth0 {nodad(n)}",
                f"route replace default via {n.ip(1, 1)} dev eth0")

    def event():
        twins.both(lambda host, _: host.link("eth0", "down"))
        time.sleep(1)
        twins.both(up)
    return twins.compare(event)


@scenario(fam=(4, 6), alone=True)
def an_address_goes_and_returns_at_once(lab, n):
    """In one step, as who sets up an interface anew does it: what was sent in
    between has learned the guard's route."""
    twins = Twins(lab, n)

    def event():
        for _ in range(5):
            twins.both(twins.again)
            time.sleep(0.05)
    return twins.compare(event)
