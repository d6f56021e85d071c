# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon and a speaker that was written from sacip(7) alone."""
import os
import sys

from flows import echo, udp
from lab import Skip, check, wait_until
from scenario import Net, lan, nodad, scenario

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) +
                "/../../interop")
try:
    from sacip import REASONS, Initiator, digest, init_hash, message
    from speaker import Flow, Speaker, owned
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
    """The daemon answers; each proves its ends of the flows by receipts, and
    the one with the lower key offers them."""
    client, server = apart(lab, n)
    server.saciped()
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    s = Speaker(client)
    session = s.connect(n.ip(1, 2), n.ip(1, 3))
    check(not session.nat, "the addresses of RESP are not those on the wire")
    nothing = {"own": [], "theirs": [], "flow_count": 0, "digest": bytes(16)}
    said, = (m for m in s.replies(message("SYNC", **nothing))
             if m.name == "SYNC_ACK")
    check((said.theirs, said.flow_count, said.digest) == ([], 0, bytes(16)),
          f"nothing is in common, and it says {said}")
    owned(s, *flows)
    for f in flows:
        state(lab, server, f, "protected")
        f.goes_on().finish()
    s.hears("FLOW_END")


@scenario(fam=(4, 6))
def speaker_answers_a_session(lab, n):
    """The daemon begins, is asked for a cookie, and claims the flow."""
    server, client = apart(lab, n, speaks="server")
    s = Speaker(server, cookies=True)
    client.saciped(initiate=[n.any])
    flow = echo(client, server, fam=n.fam)
    s.knows(flow)
    state(lab, client, flow, "protected")
    check(not s.session.nat, "the addresses of FIN are not those on the wire")
    flow.goes_on().finish()


@scenario()
def speaker_says_what_it_was_not_asked(lab):
    """SYNC, FLOW_END of a flow whose socket lives on, and BYE, after which
    what it has not ended is its own again."""
    n = Net(4)
    client, server = apart(lab, n)
    server.saciped()
    flows = [echo(client, server), udp(client, server)]
    s = Speaker(client)
    s.connect(n.ip(1, 2), n.ip(1, 3))
    ended, kept = owned(s, *flows)
    s.sync()
    s.until("SYNC_ACK", lambda: "SYNC" not in s.timers)
    s.end(ended)
    s.until("FLOW_END_ACK", lambda: not s.ended)
    state(lab, server, flows[0], "tracked")
    s.bye()
    wait_until("the server has no session with it", lambda: not any(
        p["session"] for p in server.daemon.json("peers")), 5)
    s.connect(n.ip(1, 2), n.ip(1, 3))
    kept.confirmed = False
    s.claim(kept)
    s.until("it is confirmed anew", lambda: kept.confirmed)
    state(lab, server, flows[1], "protected")
    for f in flows:
        f.goes_on().finish()


def crosses(lab, n, stands):
    """Its INIT meets the daemon's, and stands or not: the smaller hash does."""
    server, client = apart(lab, n, speaks="server")
    client.saciped(initiate=[n.any])
    s = Speaker(server)
    follow = s._init

    def cross(data, own, far):
        s._init = follow
        a = Initiator(s.key)
        while (a.hash < init_hash(data)) != stands:
            a = Initiator(s.key)
        a.own, a.far, s.asked = own, far, a
        s.put(a.init(), own, far)
    s._init = cross
    flow = echo(client, server, fam=n.fam)
    s.knows(flow)
    state(lab, client, flow, "protected")
    check(client.daemon.counter("hs_resp_tx") == stands, "the wrong one stood")
    check(client.daemon.counter("hs_done") == 1, "there are two sessions")
    flow.goes_on().finish()


@scenario(fam=(4, 6))
def speaker_crosses_and_stands(lab, n):
    crosses(lab, n, True)


@scenario(fam=(4, 6))
def speaker_crosses_and_answers(lab, n):
    crosses(lab, n, False)


@scenario(fam=(4, 6))
def speaker_is_asked_for_a_cookie(lab, n):
    """Its address has begun more handshakes than one may at once."""
    client, server = apart(lab, n)
    server.saciped()
    flow = echo(client, server, fam=n.fam)
    s = Speaker(client)
    far = n.ip(1, 3), s.port
    wait_until("the server has seen the flow", lambda: lab.entries(
        server, flow), 5)

    def too_many():
        for _ in range(20):
            s.put(Initiator(s.key).init(), n.ip(1, 2), far)
    too_many()
    wait_until("they are too many", lambda: server.daemon.counter(
        "hs_retry_tx") > 0, 5)
    too_many()  # it may begin one more each second
    s.connect(n.ip(1, 2), far[0])
    check(any(s.begun.cookie), "no cookie was asked")
    check(server.daemon.counter("hs_cookie_bad") == 0, "it was a wrong one")
    owned(s, flow)
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
    which it sends nonces of TCP and of UDP."""
    server, client = apart(lab, n, speaks="server")
    s = Speaker(server)
    client.saciped(initiate=[n.any])
    flows = [echo(client, server, fam=n.fam), udp(client, server, fam=n.fam)]
    for f in flows:
        s.knows(f)
    for f in flows:
        state(lab, client, f, "protected")
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9), nodad(n))
    for f in flows:
        state(lab, client, f, "moved")
        f.goes_on()
    client.add("eth0", n.cidr(1, 10), nodad(n))
    wait_until("it may go there", lambda: client.daemon.ctl(
        "move", "--to", n.ip(1, 10), check=False).returncode == 0, 5)
    for f in flows:
        wait_until("it has moved on", lambda f=f: lab.wire(client, f)[0][0] ==
                   n.ip(1, 10), 5)
    for f in flows:
        e = lab.entry(client, f)
        check(not e["reason"], f"nonces were not answered: {e}")
        f.goes_on().finish()
    check(len(s.nonces.frames) > 1, "no nonces came")


def names(found):
    return [m.name for m in found]


def named(found, name):
    return next((m for m in found if m.name == name), None)


@scenario()
def speaker_tries_what_the_page_names(lab):
    """Padding, extensions, lists with nothing in them, and flows that are
    none."""
    n = Net(4)
    client, server = apart(lab, n)
    server.saciped()
    flow = echo(client, server)
    s = Speaker(client)
    init = Initiator(s.key).init()
    s.put(init[:-1] + b"\1", n.ip(1, 2), (n.ip(1, 3), s.port))
    wait_until("INIT with other padding is dropped", lambda:
               server.daemon.counter("rx_malformed") == 1, 5)
    s.connect(n.ip(1, 2), n.ip(1, 3))
    owned(s, flow)
    probe = message("PROBE", token=bytes(16))
    for tlvs, answered in ((b"\2\1\7", True), (b"\1\2\0\0", True),
                           (b"\1\2\1\1", True), (b"\x81\1\7", False),
                           (b"\2\2\7", False)):
        got = names(s.replies(probe, tlvs=tlvs))
        check(("PROBE_ACK" in got) == answered, f"PROBE with {tlvs}: {got}")
    empty = s.flows_of([])
    check("FLOWS_ACK" not in names(s.replies(empty)), "nothing was answered")
    empty.flags, empty.parts = 1, 2
    m = named(s.replies(empty), "FLOWS_ACK")
    check(m and (m.batch, m.part, m.parts, m.flows) == (
        empty.batch, 0, 2, []), f"a part of a complete list: {m}")
    none = Flow(6, (n.ip(1, 2), 5), (n.ip(1, 3), 6))
    for none.id, none.confirmed in (0, False), (99, True):
        m = named(s.replies(s.flows_of([none])), "FLOWS_ACK")
        check(m and m.flows[0].reason == REASONS["unknown_flow"] and
              m.flows[0].proof[0] == 0 and m.flows[0].flow_id == none.id,
              f"no such flow: {m}")
    flow.goes_on().finish()


@scenario()
def speaker_moves_by_halves(lab):
    """MOVE with a wrong digest, in parts, with a wrong challenge, from where
    it is not, and with numbers that were used."""
    n = Net(4)
    client, server = apart(lab, n)
    server.saciped()
    flow = echo(client, server)
    s = Speaker(client)
    s.connect(n.ip(1, 2), n.ip(1, 3))
    ids = [f.id for f in owned(s, flow)]
    old, new, other = (n.ip(1, k) for k in (2, 9, 10))
    for a in new, other:
        client.add("eth0", a + "/24")
        s.listen(a)
    s.own[1].accepted.append(new)
    s.steer()
    s.answers.pop("ACCEPT")

    def move(seq, to=new, **fields):
        return s.replies(message("MOVE", **dict(dict(
            track=1, seq=seq, from_=old, to=to, flags=0, count=1,
            digest=digest(ids), part=0, parts=1, ports=[]), **fields)), to)

    def prove(seq, challenge, own=new):
        return names(s.replies(message(
            "PROVE", track=1, seq=seq, challenge=challenge, to=new,
            flows=[]), own))
    m = named(move(1, count=2), "REFUSE")
    check(m and m.reason == REASONS["digest"], f"a wrong count: {m}")
    check("ACCEPT" not in names(move(2, parts=2)), "half of a MOVE")
    a = named(move(2, part=1, parts=2), "ACCEPT")
    check(a and a.own == new, f"both halves: {a}")
    got = names(move(2, to=other))
    check("ACCEPT" not in got, f"the same number, another address: {got}")
    check("DONE" not in prove(2, bytes(16)), "a wrong challenge")
    s.own[1].at = new
    s.steer()
    check("DONE" in prove(2, a.challenge, old), "PROVE by another way")
    check("DONE" in prove(2, a.challenge), "PROVE again")
    check("DONE" in names(move(2)), "MOVE of the committed number")
    got = names(move(1)) + names(move(2, to=other))
    check(not {"ACCEPT", "DONE", "REFUSE"} & set(got), f"old numbers: {got}")
    flow.goes_on().finish()
