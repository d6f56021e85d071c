# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon and a speaker that was written from sacip(7) alone."""
import os
import sys

from flows import echo, udp
from lab import Skip, check, wait_until
from scenario import lan, nodad, scenario

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) +
                "/../../interop")
try:
    from speaker import Speaker, owned
except ImportError as e:  # python3-cryptography
    Speaker = None
    WHY = str(e)


def apart(lab, n, *more, speaks="client"):
    """
        client .1.2, then .1.9 ---- lan ---- .1.3 server, then .1.8
    One of them is the speaker, the other one has a daemon."""
    if not Speaker:
        raise Skip(WHY)
    if lab.without_daemons:
        raise Skip("asks a daemon")
    client, server, *others = lan(lab, n, *more)
    if speaks == "server":
        return [server, client, *others]
    return [client, server, *others]


def state(lab, host, flow, want):
    wait_until(f"{host.name} has it as {want}", lambda:
               lab.entry(host, flow)["state"] == want, 10)


@scenario(fam=(4, 6))
def speaker_opens_a_session(lab, n):
    """The daemon answers, and takes the flow by the proof of its numbers;
    the speaker offers, as its endpoint is the lower one."""
    client, server = apart(lab, n)
    server.saciped()
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    s = Speaker(client)
    session = s.connect(n.ip(1, 2), n.ip(1, 3))
    check(not session.nat, "the addresses of RESP are not those on the wire")
    owned(s, *flows)
    for f in flows:
        state(lab, server, f, "protected")
        f.goes_on().finish()
    s.hears("FLOW_END")


@scenario(fam=(4, 6))
def speaker_answers_a_session(lab, n):
    """The daemon begins, is asked for a cookie, and offers the flow."""
    server, client = apart(lab, n, speaks="server")
    s = Speaker(server, cookies=True)
    client.saciped(initiate=[n.any])
    flow = echo(client, server, fam=n.fam)
    s.knows(flow)
    state(lab, client, flow, "protected")
    check(not s.session.nat, "the addresses of FIN are not those on the wire")
    flow.goes_on().finish()


@scenario(fam=(4, 6))
def speaker_moves_twice(lab, n):
    """With the old address there, and with it gone."""
    client, server = apart(lab, n)
    server.saciped()
    flow = echo(client, server, fam=n.fam)
    s = Speaker(client)
    s.connect(n.ip(1, 2), n.ip(1, 3))
    owned(s, flow)
    for host, gone in (9, False), (10, True):
        client.add("eth0", n.cidr(1, host), nodad(n))
        s.moved(n.ip(1, host), gone=gone)
        wait_until("the daemon sends to it", lambda: lab.wire(
            server, flow)[1] == (n.ip(1, host), flow.port), 5)
        flow.goes_on()
    flow.finish()


@scenario(fam=(4, 6))
def speaker_follows(lab, n):
    """The daemon moves: break before make, and then make before break, for
    which it sends nonces."""
    server, client = apart(lab, n, speaks="server")
    s = Speaker(server)
    client.saciped(initiate=[n.any])
    flow = echo(client, server, fam=n.fam)
    s.knows(flow)
    state(lab, client, flow, "protected")
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    state(lab, client, flow, "moved")
    flow.goes_on()
    client.add("eth0", n.cidr(1, 10), nodad(n))
    client.daemon.ctl("move", "--to", n.ip(1, 10))
    wait_until("it has moved on", lambda: lab.wire(client, flow)[0][0] ==
               n.ip(1, 10), 5)
    flow.goes_on()
    check(client.daemon.counter("nonces_rx") > 0, "no nonce was answered")
    check(lab.entry(client, flow)["reason"] in (None, "none", ""),
          f"it has a reason: {lab.entry(client, flow)}")
    flow.finish()
