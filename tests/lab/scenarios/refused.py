# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer that refuses where we want to be: how often it is asked, what is
tried instead, and what people are told."""
import time

from flows import echo
from lab import check, wait_until
from scenario import lan, nodad, scenario

ROUNDS_S = 5


def hosts(lab, n, deny):
    client, server = lan(lab, n)
    client.saciped(initiate=["0.0.0.0/0", "::/0"])
    server.saciped(locator_deny=[n.ip(1, i) for i in deny])
    return client, server


def told(host):
    """Lines for people about a refusal."""
    return [x for x in host.daemon.process.text().splitlines()
            if x.startswith("notice: moves_refused")]


def third_is_allowed(lab, n, order):
    client, server = hosts(lab, n, (9, 11))
    flow = echo(client, server, fam=n.fam)
    lab.protected(flow)
    for i in order:
        client.add("eth0", n.cidr(1, i), nodad(n))
    client.delete("eth0", n.cidr(1, 2))
    lab.settled(flow, client=n.ip(1, 10))
    flow.goes_on()
    flow.finish()
    if lab.without_daemons:
        return
    moves = client.daemon.counter("moves_started")
    check(moves <= 6, f"{moves} moves for three addresses")
    for h in client, server:
        check(len(told(h)) <= 1, f"{h.name} told more than once: {told(h)}")


@scenario(fam=(4, 6), control="dies")
def two_are_denied_the_last_one_is_not(lab, n):
    """
        client .1.2, then .1.9, .1.11, .1.10 ---- lan ---- .1.3 server, denies .9, .11
    """
    third_is_allowed(lab, n, (9, 11, 10))


@scenario(fam=(4, 6), control="dies")
def two_are_denied_the_one_between_is_not(lab, n):
    """
        client .1.2, then .1.9, .1.10, .1.11 ---- lan ---- .1.3 server, denies .9, .11
    """
    third_is_allowed(lab, n, (9, 10, 11))


@scenario(fam=(4, 6), control="dies")
def all_are_denied(lab, n):
    """
        client .1.2, then .1.9, .1.11 ---- lan ---- .1.3 server, denies both
        later .1.10
    """
    client, server = hosts(lab, n, (9, 11))
    flow = echo(client, server, fam=n.fam)
    lab.protected(flow)
    for i in 9, 11:
        client.add("eth0", n.cidr(1, i), nodad(n))
    client.delete("eth0", n.cidr(1, 2))
    if not lab.without_daemons:
        for h in client, server:
            wait_until(f"{h.name} lists the flow as refused by policy",
                       lambda h=h: lab.entry(h, flow)["reason"] == "policy")
        before = client.daemon.counters()
        time.sleep(ROUNDS_S)  # nothing happens: that is what is looked at
        after = client.daemon.counters()
        for name, most in (("moves_started", 10), ("moves_refused", 10),
                           ("hs_attempts", 0), ("tx_frames", 60)):
            n_more = after[name] - before[name]
            check(n_more <= most,
                  f"{n_more} {name} in {ROUNDS_S} s, not {most}")
        check(after["moves_started"] > before["moves_started"],
              "never asked again")
        for h in client, server:
            check(len(told(h)) == 1, f"{h.name} told {told(h)}")
            check("configuration" in told(h)[0], f"no reason: {told(h)}")
    client.add("eth0", n.cidr(1, 10), nodad(n))
    lab.settled(flow, client=n.ip(1, 10), timeout=3)
    flow.goes_on()
    flow.finish()


@scenario(fam=(4, 6), control="lives")
def denied_while_the_old_one_lives(lab, n):
    """
        client .1.2 and .1.9 ---- lan ---- .1.3 server, denies .9

    The operator wants the flow at .9; later .9 goes, and with it the matter.
    """
    client, server = hosts(lab, n, (9,))
    flow = echo(client, server, fam=n.fam)
    lab.protected(flow)
    client.add("eth0", n.cidr(1, 9), nodad(n))
    if not lab.without_daemons:
        client.daemon.ctl("move", "--to", n.ip(1, 9))
        wait_until("the flow is listed as refused by policy",
                   lambda: lab.entry(client, flow)["reason"] == "policy")
        time.sleep(ROUNDS_S)  # nothing happens, and it is listed all the same
        check(lab.entry(client, flow)["reason"] == "policy",
              f"listed as {lab.entry(client, flow)}")
        check(client.daemon.counter("moves_started") == 1, "asked again")
        check(len(told(client)) == 1, f"told {told(client)}")
    client.delete("eth0", n.cidr(1, 9))
    if not lab.without_daemons:
        wait_until("the flow is listed without a reason",
                   lambda: lab.entry(client, flow)["reason"] in (None, "none"))
    lab.settled(flow)
    flow.goes_on()
    flow.finish()
