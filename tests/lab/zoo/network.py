# SPDX-License-Identifier: GPL-2.0-or-later
"""network: the one network of the zoo, and its two ends as hosts and events
see them.

    mover                          router                          peer
    uplink .1.2 --- lan1 --- .1.1 (and .4.1)  .2.1 (and .5.1) --- lan2 --- .2.3 uplink
    spare   -   --- lan3 --- .3.1             .6.1 ------------- lan6 ---   -   spare

Each address is there in IPv4 and in IPv6 (10.S.0.H/24 and fd00:S::H/64). A
host of the zoo is set up at either end, so it names nothing but its Place.
Owns the network. Never starts a daemon, never says what is good.
"""
import itertools
import threading

from scenario import Net

V4, V6 = Net(4), Net(6)
BOTH = (V4, V6)
EMPTY = """
table inet filter {
	chain input { type filter hook input priority filter; policy accept; }
}
"""


class Place:
    """One end. Subnets by their use: home, other (the same wire), spare (the
    second interface)."""

    def __init__(self, host, router, number, home, other, spare, ports):
        self.host, self.router, self.lab = host, router, host.lab
        self.number, self.ports = number, ports
        self.subnets = {"home": home, "other": other, "spare": spare}
        self.uplink, self.second = "eth0", "eth1"
        self.served = {}  # family: the address that others know, if not home's
        self.beast = None  # the module of hosts/ that lives here
        self.form = ""  # what it could not be made like
        self.tunnel, self.ended = None, threading.Event()
        self.thread, self.failed = None, None  # of what goes on meanwhile
        self.lock = threading.Lock()  # for what it shares with events

    def ip(self, n, where="home", number=None):
        return n.ip(self.subnets[where], number or self.number)

    def cidr(self, n, where="home", number=None):
        return n.cidr(self.subnets[where], number or self.number)

    def gateway(self, n, where="home"):
        return n.ip(self.subnets[where], 1)

    def address(self, n):
        """Where connections begin and end."""
        return self.served.get(n.fam) or self.ip(n)

    def serves(self, n, address):
        self.served[n.fam] = address
        self.host.addresses.append(address)

    def dev(self, where):
        return self.second if where == "spare" else self.uplink

    # what administrators do

    def run(self, *argv, **kw):
        return self.host.run(*argv, **kw)

    def ip_do(self, *lines):
        """Lines for ip(8), each with -4 or -6 before it, or none. A process
        for each row of the same: to start one takes time of an outage."""
        def option(line):
            return line[:2] if line[0] == "-" else None
        for fam, row in itertools.groupby(lines, option):
            self.run("ip", *filter(None, (fam,)), "-batch", "-",
                     input="\n".join(x.removeprefix(fam or "")
                                     for x in row) + "\n")

    def add(self, where="home", number=None, how="", families=BOTH):
        self.ip_do(*(f"address replace {self.cidr(n, where, number)} dev "
                     f"{self.dev(where)} {how} "
                     f"{'nodad' if n.fam == 6 else ''}" for n in families))
        self.beast_does("announce", where, number)

    def delete(self, where="home", number=None, families=BOTH):
        self.ip_do(*(f"address del {self.cidr(n, where, number)} dev "
                     f"{self.dev(where)}" for n in families))

    def default(self, where="home", *more):
        """A default route, as the host's own tools set it."""
        if self.beast_does("default", where, *more):
            return
        self.ip_do(*(f"-{n.fam} route replace {self.way(n, where)} "
                     f"{' '.join(more)}" for n in BOTH))

    def no_default(self, where="home", *more):
        if self.beast_does("no_default", where, *more):
            return
        for n in BOTH:
            self.run("ip", f"-{n.fam}", "route", "del",
                     *self.way(n, where).split(), *more, check=False)

    def way(self, n, where="home"):
        return f"default via {self.gateway(n, where)} dev {self.dev(where)}"

    def beast_does(self, what, *args):
        """What the host does of its own, if it does."""
        work = getattr(self.beast, what, None)
        if work:
            work(self, *args)
        return work is not None

    def meanwhile(self, work):
        """Goes on with work, which yields for how many seconds it pauses,
        until the run is over."""
        def go():
            try:
                for pause in work:
                    if self.ended.wait(pause):
                        return
            except Exception as e:
                self.failed = e
        self.thread = threading.Thread(target=go, daemon=True)
        self.thread.start()

    def end(self):
        """Its tunnel's rules are none that a daemon leaves."""
        self.ended.set()
        if self.thread:
            self.thread.join()
        if self.failed:
            raise self.failed
        if self.tunnel:
            self.tunnel_down()

    def rules(self, *lines):
        """`ip rule` and what else takes -4 and -6, in both."""
        for fam in 4, 6:
            self.ip_do(*(f"-{fam} {x}" for x in lines))

    def link(self, dev, state):
        self.ip_do(f"link set {dev} {state}")

    def nft(self, text):
        self.run("nft", "-f", "-", input=text)

    def iptables(self, text, families=(4, 6)):
        for fam in families:
            tool = "iptables" if fam == 4 else "ip6tables"
            self.run(tool + "-nft-restore", input=text)

    def sysctl(self, name, value):
        self.host.sysctl(name, value)

    def reload(self):
        """As the host's own tools load its rules; where it has none of its
        own, as the nftables service loads an empty file."""
        load = getattr(self.beast, "reload", None) or \
            getattr(self.beast, "setup", None)
        if load and hasattr(self.beast, "RULES"):
            load(self)
        else:
            self.nft("flush ruleset\n" + EMPTY)

    def tunnel_up(self):
        from tunnel import Tunnel
        self.tunnel = Tunnel(self)

    def tunnel_down(self):
        self.tunnel.down()
        self.tunnel = None


def build(lab):
    """The network; returns its two places."""
    def pair(subnet, host):
        return ",".join(n.cidr(subnet, host) for n in BOTH)

    def gateways(subnet):
        return ",".join(n.ip(subnet, 1) for n in BOTH)

    mover, router, peer = lab.build(f"""
        mover eth0 {pair(1, 2)} lan1 via {gateways(1)}
        router eth0 {pair(1, 1)},{pair(4, 1)} lan1
        router eth1 {pair(2, 1)},{pair(5, 1)} lan2
        peer eth0 {pair(2, 3)} lan2 via {gateways(2)}
        router eth2 {pair(3, 1)} lan3
        mover eth1 - lan3
        router eth3 {pair(6, 1)} lan6
        peer eth1 - lan6""")
    return (Place(mover, router, 2, 1, 4, 3, {"home": "eth0", "spare": "eth2"}),
            Place(peer, router, 3, 2, 5, 6, {"home": "eth1", "spare": "eth3"}))
