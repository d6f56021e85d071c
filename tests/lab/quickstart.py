#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts and a router on this machine; connections that live on while
first the one host moves, and then the other.

    laptop eth0 10.1.0.2 --- office --- 10.1.0.1 +--------+
                                     or 10.4.0.1 | router | --- 10.2.0.3 server
    laptop eth1          --- mobile --- 10.3.0.1 +--------+

Exit status 0 only if every connection survived every move and both ends
have the same data. Nothing is left behind, also when it is interrupted.
"""
import argparse
import os
import shutil
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
os.environ["PATH"] += ":/usr/sbin:/sbin"

from flows import Ssh, copy, echo, udp  # noqa: E402
from lab import Failed, Lab, Skip, isolate  # noqa: E402

LINES = 100  # of each connection between two moves


def say(text):
    print(text, flush=True)


def network(lab):
    return lab.build("""
        laptop eth0 10.1.0.2/24,fd00:1::2/64 office via 10.1.0.1,fd00:1::1
        router eth0 10.1.0.1/24,10.4.0.1/24,fd00:1::1/64,fd00:4::1/64 office
        router eth1 10.2.0.1/24,fd00:2::1/64 backbone
        router eth2 10.3.0.1/24,fd00:3::1/64 mobile
        server eth0 10.2.0.3/24,fd00:2::3/64 backbone via 10.2.0.1,fd00:2::1
        laptop eth1 - mobile
    """)


def another_address(laptop, _):
    for new, old in (("10.1.0.77/24", "10.1.0.2/24"),
                     ("fd00:1::77/64", "fd00:1::2/64")):
        laptop.add("eth0", new)
        laptop.usable(new)
        laptop.delete("eth0", old)
    laptop.route("default via 10.1.0.1 dev eth0")
    return {"client": ("10.1.0.77", "fd00:1::77")}


def another_subnet(laptop, _):
    for new, via, old in (
            ("10.4.0.5/24", "10.4.0.1", "10.1.0.77/24"),
            ("fd00:4::5/64", "fd00:4::1", "fd00:1::77/64")):
        laptop.add("eth0", new)
        laptop.usable(new)
        laptop.route("default via", via, "dev eth0")
        laptop.delete("eth0", old)
    return {"client": ("10.4.0.5", "fd00:4::5")}


def another_interface(laptop, _):
    for new, via in (("10.3.0.9/24", "10.3.0.1"),
                     ("fd00:3::9/64", "fd00:3::1")):
        laptop.add("eth1", new)
        laptop.usable(new)
        laptop.ip(f"route add default via {via} dev eth1 metric 2048")
    laptop.link("eth0", "down")
    return {"client": ("10.3.0.9", "fd00:3::9")}


def the_other_host(_, server):
    for new, via, old in (
            ("10.2.0.99/24", "10.2.0.1", "10.2.0.3/24"),
            ("fd00:2::99/64", "fd00:2::1", "fd00:2::3/64")):
        server.add("eth0", new)
        server.usable(new)
        server.delete("eth0", old)
        server.route("default via", via, "dev eth0")
    return {"client": ("10.3.0.9", "fd00:3::9"),
            "server": ("10.2.0.99", "fd00:2::99")}


MOVES = (
    ("laptop: another address in the subnet", another_address),
    ("laptop: another subnet", another_subnet),
    ("laptop: another interface, the first one goes down", another_interface),
    ("server: another address", the_other_host),
)


def open_connections(laptop, server):
    return {
        "OpenSSH, command and port": Ssh(laptop, server),
        "bulk transfer": copy(laptop, server),
        "UDP request and response": udp(laptop, server, pace_us=5000),
        "IPv6 TCP connection": echo(laptop, server, fam=6, pace_us=5000),
    }


def settle(lab, flows, where):
    for f in flows:
        v6 = getattr(f, "fam", 4) == 6
        lab.settled(f, timeout=20, **{
            end: addrs[v6] for end, addrs in where.items()})


def demonstrate(lab):
    laptop, router, server = network(lab)
    say("$ saciped   # on the laptop, and on the server")
    lab.daemons(laptop, server)
    flows = open_connections(laptop, server)
    lab.protected(*flows.values(), timeout=20)
    say("\nFour connections, found and proven by both ends. laptop$ sacipctl "
        "list\n")
    show(laptop)
    survived = dict.fromkeys(flows, 0)
    for title, move in MOVES:
        where = move(laptop, server)
        settle(lab, flows.values(), where)
        for name, f in flows.items():
            f.goes_on(LINES)
            survived[name] += 1
        host = server if move is the_other_host else laptop
        say(f"\n== {title}. {host.name}$ sacipctl list\n")
        show(host)
    return conclude(lab, flows, survived)


def show(host):
    say(host.daemon.ctl("list").stdout_text.rstrip())


def conclude(lab, flows, survived):
    row = "{:<26} {:>11} {:>5} {:>8}  {:<16} {:<16}"
    say("\n" + row.format("connection", "bytes", "moves", "gap ms", "hash sent",
                          "hash received"))
    notes = []
    for name, f in flows.items():
        r = f.finish()  # raises where the data differ
        say(row.format(name, r.bytes, survived[name], f"{r.gap_ms:.1f}",
                       r.local_hash[:16], r.remote_hash[:16]))
        if f.proto == "udp":
            notes.append(f"{r.client['repeats']} UDP requests were repeated "
                         "(datagrams in flight to an address that went)")
    lab.finish()
    say("\n" + "\n".join(notes))
    say(f"All {len(flows)} connections survived {len(MOVES)} moves; no "
        "application data was lost.")
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    p.add_argument("--bindir", default=os.environ.get(
        "SACIPED_BUILD", os.path.join(HERE, "../../build")))
    args = p.parse_args()
    base = tempfile.mkdtemp(prefix="saciplab.", dir="/tmp")
    os.chmod(base, 0o755)

    def interrupted(number, _):
        raise SystemExit(128 + number)
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, interrupted)

    def work():
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            signal.signal(number, lambda *_: None)  # SIG_IGN is inherited
        lab = Lab(base, os.path.abspath(args.bindir))
        try:
            return demonstrate(lab)
        except (Failed, Skip) as e:
            say(f"\nquickstart: {e}")
            say(lab.autopsy())
            return 1
    try:
        return isolate(work)
    except Skip as e:
        say(f"quickstart: {e}")
        return 1
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
