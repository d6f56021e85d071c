# SPDX-License-Identifier: GPL-2.0-or-later
"""A while without any address: what TCP makes of that time afterwards."""
import re
import subprocess
import time

from flows import bulk, copy, echo
from lab import Died, Skip, check, wait_until
from scenario import lan, nodad, scenario

OUTAGE_S = 3
LONG_S = 30  # TCP by itself may wait for as long once more
RTO_MAX_MS = 1000
AGAIN_S = 0.5  # a round trip and 50 ms, where the machine has more to do
SLOW_S = 8
# What comes is lost at either end. The chain stays: to remove one makes the
# kernel drop what is held in a queue.
CUT = """table inet cut {
	chain in { type filter hook prerouting priority -310; iif eth0 drop; }
}
"""


class Cut:
    """Both hosts get nothing."""

    def __init__(self, *hosts):
        self.hosts = hosts

    def __enter__(self):
        for h in self.hosts:
            h.run("nft", "-f", "-", input=CUT)

    def __exit__(self, *unused):
        for h in self.hosts:
            h.run("nft", "flush table inet cut")


def narrow(*hosts):
    """What comes to each goes through a line with a queue, as at home."""
    for h in hosts:
        with h.lab.fabric():
            p = subprocess.run(["tc", "qdisc", "add", "dev", f"{h.name}.eth0",
                                "root", "tbf", "rate", "20mbit", "burst",
                                "20k", "latency", "50ms"])
        if p.returncode:
            raise Skip("no tbf in this kernel")


def slow_timer(n, host):
    """TCP takes the way for one that needs a timer of SLOW_S."""
    if n.fam == 4:
        host.ip(f"route change 10.1.0.0/24 dev eth0 proto kernel scope link "
                f"src {host.address(4)} rto_min {SLOW_S}s")
    else:
        host.ip(f"route change fd00:1::/64 dev eth0 proto kernel metric 256 "
                f"rto_min {SLOW_S}s")


def backoff_in(text):
    return re.search(r"\bbackoff:(\d+)", text)


def backoff(host, port):
    text = host.run("ss", "-Htino", f"sport = :{port}").stdout_text
    print(text)
    return backoff_in(text)


def move_after_a_loss(client, server, n, old, new, flow, lost, ready):
    """Begins when `lost`, is over in OUTAGE_S and `ready`."""
    with Cut(client, server):
        wait_until("all is lost", lost, 5, 0.01)
        client.delete("eth0", n.cidr(1, old))
        time.sleep(OUTAGE_S)
        check(client.lab.without_daemons or ready(), "it waits for another timer")
        had = flow.receiver.rx_bytes
    client.add("eth0", n.cidr(1, new), nodad(n))
    began = time.monotonic()
    wait_until(f"{flow} goes on", lambda: flow.receiver.rx_bytes > had, 10,
               0.002, Died)
    took = time.monotonic() - began
    check(took < AGAIN_S, f"{flow}: data came after {took:.2f} s")


def data_comes(flows, got):
    """The address is back; `got` is what each had by then."""
    began = time.monotonic()
    for f, had in zip(flows, got):
        wait_until(f"{f} goes on", lambda: f.receiver.rx_bytes > had, 10,
                   0.002, Died)
    took = time.monotonic() - began
    check(took < AGAIN_S, f"data came after {took:.2f} s")


def rto_ms(host, port):
    """The sender's timer, and how often it was doubled: what it makes of round
    trips is the one without the other."""
    text = host.run("ss", "-Htino", f"sport = :{port}").stdout_text
    print(text)
    doubled = backoff_in(text)
    return (float(re.search(r"\brto:([0-9.]+)", text).group(1)),
            int(doubled.group(1)) if doubled else 0)


def given_up(client):
    """Segments that were held for too long, so far. At the end of a hold some
    are given up in any case: ask while there is no address."""
    return (0 if client.lab.without_daemons else
            client.daemon.counter("pkt_hold_stale"))


def all_is_not_kept(client, before):
    check(client.lab.without_daemons or given_up(client) > before,
          "all is kept")


@scenario(fam=(4, 6), timeout=90, control="dies")
def the_time_of_a_hold_is_no_round_trip(lab, n):
    """Asked while there is no address, answered when there is one: at once,
    and what the sender takes for a round trip is what it was. Twice, since it
    is the second outage that a long timer spoils. Once the host that asks is the
    one that moves, once the other; what that one repeated for ten seconds is
    answered with a time stamp that it sent long ago. How often it had doubled
    its timer until then is forgotten with the next round trip.

        client .1.2, .1.9, .1.10 ---- lan ---- .1.3 server
    """
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [echo(client, server, busy=0, idle=1, fam=n.fam),
             echo(server, client, busy=0, idle=1, fam=n.fam)]
    lab.protected(*flows)
    for old, new, outage_s in (2, 9, 10), (9, 10, OUTAGE_S):
        client.delete("eth0", n.cidr(1, old))
        before = given_up(client)
        for f in flows:
            f.echo_ask()
        time.sleep(outage_s)
        all_is_not_kept(client, before)
        client.add("eth0", n.cidr(1, new), nodad(n))
        began = time.monotonic()
        for f in flows:
            f.echo_answered()
        took = time.monotonic() - began
        check(took < AGAIN_S, f"answered after {took:.2f} s")
        for f in flows:
            rto, doubled = rto_ms(f.client, f.port)
            check(rto < RTO_MAX_MS * 2 ** doubled,
                  f"{f}: its timer is {rto} ms long, doubled {doubled} times")
    for f in flows:
        f.echo_all()
        rto, doubled = rto_ms(f.client, f.port)
        check(rto < RTO_MAX_MS and not doubled,
              f"{f}: its timer is still {rto} ms long")
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), timeout=90, control="dies")
def a_copy_goes_on_after_a_long_hold(lab, n):
    """What was under way is given up but for what starts it again."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flows = [copy(client, server, kind, fam=n.fam) for kind in ("up", "down")]
    lab.protected(*flows)
    for f in flows:
        f.goes_on()
    for old, new in (2, 9), (9, 10):
        before = given_up(client)
        client.delete("eth0", n.cidr(1, old))
        time.sleep(OUTAGE_S)
        all_is_not_kept(client, before)
        got = [f.receiver.rx_bytes for f in flows]
        client.add("eth0", n.cidr(1, new), nodad(n))
        data_comes(flows, got)
        for f in flows:
            f.goes_on()
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), needs=("tc",), timeout=150, long=True, control="dies")
def bulk_goes_on_after_two_long_outages(lab, n):
    """All that is under way is lost, and half a minute later there is an
    address again; twice, the second time as soon as there is data."""
    client, server = lan(lab, n)
    narrow(client, server)
    lab.daemons(client, server)
    flows = [bulk(client, server, kind=k, fam=n.fam) for k in ("up", "down")]
    lab.protected(*flows)
    for f in flows:
        f.goes_on(3000)
    for old, new in (2, 9), (9, 10):
        with Cut(client, server):
            client.delete("eth0", n.cidr(1, old))
            time.sleep(LONG_S)
            got = [f.receiver.rx_bytes for f in flows]
        client.add("eth0", n.cidr(1, new), nodad(n))
        data_comes(flows, got)
    for f in flows:
        f.goes_on(3000)
    for f in flows:
        f.finish()


@scenario(fam=(4, 6), timeout=90, control="dies")
def a_loss_before_a_long_hold_costs_no_timer(lab, n):
    """Where the host that moves sends, it holds copies of the first segment
    alone: what it sends next it told to nobody, since the path is tried by
    the flow that got data last. Twice, as what the first outage makes of the
    timer shows in the second."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = copy(client, server, "up", fam=n.fam)
    others = [copy(client, server, "down", fam=n.fam),
              echo(client, server, fam=n.fam),
              echo(server, client, fam=n.fam)]
    lab.protected(flow, *others)
    for old, new in (2, 9), (9, 10):
        flow.goes_on(3000)
        for f in others:
            f.goes_on()
        move_after_a_loss(
            client, server, n, old, new, flow, lambda: True,
            lambda: backoff(client, flow.port))
    for f in flow, *others:
        f.finish()


@scenario(fam=(4, 6), timeout=90, control="dies")
def a_peer_is_woken_before_its_first_timeout(lab, n):
    """A sender whose timer is long by itself, as after a slow path, is in no
    backoff when the path is back."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    slow_timer(n, server)
    flow = copy(client, server, "down", fam=n.fam)
    lab.protected(flow)
    for old, new in (2, 9), (9, 10):
        flow.goes_on(3000)
        move_after_a_loss(
            client, server, n, old, new, flow, lambda: True,
            lambda: not backoff(server, flow.server_port))
    flow.finish()


@scenario(fam=(4, 6), timeout=90, control="dies")
def a_copy_is_kept_for_as_long_as_the_timer_itself(lab, n):
    """A sender with a long timer that has timed out once: to undo the backoff
    leaves it that timer, so the copy that is held is what restarts it."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    slow_timer(n, client)
    flow = echo(client, server, busy=0, idle=1, fam=n.fam)
    lab.protected(flow)
    client.delete("eth0", n.cidr(1, 2))
    flow.echo_ask()
    # a bare host with no address has nothing that could time out
    wait_until("its timer runs out", lambda: lab.without_daemons or
               backoff(client, flow.port), 12)
    time.sleep(2)  # so long that an ordinary copy would be given up
    client.add("eth0", n.cidr(1, 9), nodad(n))
    began = time.monotonic()
    flow.echo_answered()
    took = time.monotonic() - began
    check(took < AGAIN_S, f"answered after {took:.2f} s")
    flow.finish()
