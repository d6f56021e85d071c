# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad configuration, bad arguments, a machine that lacks something: one
clear line, a non-zero exit, nothing left behind."""
import ctypes
import os
import signal
import socket
import struct
import subprocess

from flows import echo
from lab import check, conf_text, libc, wait_until
from scenario import Net, lan, nodad, scenario


def one_host(lab):
    host, _ = lan(lab, Net(4))
    return host


def attempt(lab, host, conf, argv=(), wrap=(), raw=None, **kw):
    """Runs saciped to its end; (exit code, lines on stderr)."""
    base = lab.path("try")
    os.makedirs(base, exist_ok=True)
    file = base + "/saciped.conf"
    full = {"runtime_dir": base + "/run", "state_dir": base + "/state", **conf}
    with open(file, "w") as f:
        f.write(raw or "".join(f"{k} = {conf_text(v)};\n"
                               for k, v in full.items()))
    before = host.residue()
    argv = [*wrap, lab.program("saciped"), *(argv or ("-c", file))]
    with host:
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.PIPE, **kw)
    try:
        out, err = p.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        p.kill()
        p.communicate()
        check(False, f"{argv[-3:]} with {conf} did not end")
    check(host.residue() == before, f"{conf}: left in the kernel: "
                                    f"{host.residue()}")
    run = base + "/run"
    check(not os.path.isdir(run) or not os.listdir(run),
          f"{conf}: left in runtime_dir")
    return p.returncode, err.splitlines(), out


def refused(lab, host, conf, word, code=1, **kw):
    got, err, _ = attempt(lab, host, conf, **kw)
    check(got == code, f"{conf or kw}: exit {got}, not {code}: {err}")
    err = [x for x in err if not x.startswith("notice: new key")]
    check(len(err) == 1, f"{conf or kw}: {len(err)} lines: {err}")
    check(word in err[0], f"{conf or kw}: no {word!r} in: {err[0]}")


@scenario()
def bad_configuration(lab):
    """With file and line; `-t` says it too and starts nothing."""
    host = one_host(lab)
    for raw, word in (
            ("port = 1021;\nprot = 5;\n", "saciped.conf:2: "),
            ("port = \"x\";\n", "saciped.conf:1: "),
            ("port = 70000;\n", "saciped.conf:1: "),
            ("port = 1021\nmark = \n", "saciped.conf:"),
            ("mark = 3;\n", "saciped.conf:1: "),
            ("first_contact = \"maybe\";\n", "saciped.conf:1: "),
            ("\ninitiate = [ \"10.0.0.1/8\" ];\n", "saciped.conf:2: "),
            ("deny = [ \"sctp 10.0.0.0/8\" ];\n", "saciped.conf:1: "),
            ("allow = [ \"10.0.0.0/8 5-4\" ];\n", "saciped.conf:1: "),
            ("peers = ( { name = \"a\"; public_key = \"short\"; } );\n",
             "saciped.conf:1: ")):
        refused(lab, host, {}, word, raw=raw)
        refused(lab, host, {}, word, raw=raw,
                argv=("-t", "-c", lab.path("try/saciped.conf")))
    code, err, _ = attempt(lab, host, {}, argv=(
        "-t", "-c", lab.path("try/saciped.conf")))
    check(code == 0 and not err, f"-t on a good file: {code} {err}")
    refused(lab, host, {}, "nowhere.conf", argv=("-c", "/nowhere.conf"))


@scenario()
def bad_arguments(lab):
    host = one_host(lab)
    for argv in ("-x",), ("-c",), ("stray",):
        code, err, _ = attempt(lab, host, {}, argv=argv)
        check(code == 2 and err, f"saciped {argv}: {code} {err}")
    code, _, out = attempt(lab, host, {}, argv=("-V",))
    check(code == 0 and "saciped" in out, f"-V: {code} {out!r}")
    code, _, out = attempt(lab, host, {}, argv=("-h",))
    check(code == 0 and all(f" -{x} " in out for x in "cdhtV"),
          f"-h: {code} {out!r}")
    ctl = lab.program("sacipctl")
    for want, argv in (
            (2, ()), (2, ("nonsense",)), (2, ("show",)), (2, ("move",)),
            (2, ("show", "x")), (2, ("list", "too", "many")), (2, ("-x",)),
            (3, ("-s", "/nowhere/saciped.sock", "list"))):
        p = host.run(ctl, *argv, check=False)
        check(p.returncode == want and p.stderr_text.strip(),
              f"sacipctl {argv}: exit {p.returncode}, not {want}: "
              f"{p.stderr_text}")


@scenario()
def bad_keys(lab):
    """Loose permissions, a directory, too short, or not readable."""
    host = one_host(lab)
    state = lab.path("try/state")
    os.makedirs(state, mode=0o700)
    key = state + "/key"
    host.saciped()  # makes a good one
    if host.daemon.process:
        with open(host.daemon.conf["state_dir"] + "/key", "rb") as f:
            good = f.read()
        mode = os.stat(host.daemon.conf["state_dir"] + "/key").st_mode & 0o777
        check(mode == 0o600, f"a new key has mode {mode:o}")
        host.daemon.stop()
        with open(key, "wb") as f:
            f.write(good)
        for mode in 0o644, 0o640, 0o660:
            os.chmod(key, mode)
            refused(lab, host, {}, "key")
        os.chmod(key, 0o600)
        with open(key, "wb") as f:
            f.write(good[:7])
        refused(lab, host, {}, "key")
        os.unlink(key)
    os.mkdir(key)
    refused(lab, host, {}, "key")


@scenario()
def port_in_use(lab):
    host = one_host(lab)
    for fam, addr in (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"):
        s = host.socket(fam, socket.SOCK_DGRAM)
        if fam == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind((addr, 1021))
        refused(lab, host, {}, "UDP port 1021 is another program's; set `port`")
        s.close()


@scenario()
def missing_capability(lab):
    host = one_host(lab)
    refused(lab, host, {}, "CAP_NET_ADMIN", wrap=(
        "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"))
    refused(lab, host, {}, "CAP_NET_RAW", wrap=(
        "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"))


def without_netfilter():
    """Before exec: socket(AF_NETLINK, ..., NETLINK_NETFILTER) fails as it
    does on a kernel that has none."""
    number = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
    ops = [(0x20, 0, 0, 0), (0x15, 0, 5, number),  # nr == socket?
           (0x20, 0, 0, 16), (0x15, 0, 3, 16),  # AF_NETLINK?
           (0x20, 0, 0, 32), (0x15, 0, 1, 12),  # NETLINK_NETFILTER?
           (6, 0, 0, 0x00050000 | 93), (6, 0, 0, 0x7fff0000)]
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *o) for o in ops))
    prog = ctypes.create_string_buffer(
        struct.pack("HL", len(ops), ctypes.addressof(code)))
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    if libc.prctl(22, 2, prog, 0, 0):
        os._exit(99)


@scenario()
def no_nftables(lab):
    refused(lab, one_host(lab), {}, "nft", preexec_fn=without_netfilter)


@scenario()
def directories_that_cannot_be_made(lab):
    host = one_host(lab)
    for key in "runtime_dir", "state_dir":
        refused(lab, host, {key: "/proc/nowhere"}, "/proc/nowhere")


@scenario()
def directories_that_others_may_write_in(lab):
    """They could exchange the key, or the socket."""
    host = one_host(lab)
    for key in "runtime_dir", "state_dir":
        for mode, uid in (0o1777, 0), (0o770, 0), (0o755, 65534):
            path = lab.path(f"{key}-{mode:o}")
            os.mkdir(path)
            os.chmod(path, mode)
            os.chown(path, uid, -1)
            refused(lab, host, {key: path}, path)


@scenario()
def a_second_daemon_on_the_same_host(lab):
    """It goes, and the first one is none the worse."""
    host, server = lan(lab, Net(4))
    lab.daemons(host, server)
    flow = echo(host, server)
    lab.protected(flow)
    if not lab.without_daemons:
        conf = {k: v for k, v in host.daemon.conf.items()}
        code, err, _ = attempt_beside(lab, host, conf)
        check(code == 1 and len(err) == 1, f"exit {code}: {err}")
        check(host.daemon.process.alive(), "the first daemon has ended")
    host.replace("eth0", "10.1.0.2/24", "10.1.0.9/24")
    lab.settled(flow, client="10.1.0.9")
    flow.goes_on().finish()


@scenario()
def a_second_daemon_that_reads_another_boot_id(lab):
    """As in a container with ProtectProc: the journal that it finds seems to be
    of an earlier boot. It stays, and so do the rules and routes."""
    host, server = lan(lab, Net(4))
    lab.daemons(host, server)
    flow = echo(host, server)
    lab.protected(flow)
    host.replace("eth0", "10.1.0.2/24", "10.1.0.9/24")
    lab.settled(flow, client="10.1.0.9")
    if lab.without_daemons:
        return
    boot_id = lab.path("boot_id")
    with open(boot_id, "w") as f:
        f.write("00000000-1111-2222-3333-444444444444\n")
    journal = host.daemon.conf["runtime_dir"] + "/journal"
    before = os.stat(journal).st_ino, host.residue()
    code, err, _ = attempt_beside(
        lab, host, dict(host.daemon.conf, port=1021), "unshare", "-m", "sh",
        "-c", f"mount --bind {boot_id} /proc/sys/kernel/random/boot_id && "
        'exec "$@"', "sh")
    check(code == 1 and len(err) == 1 and "locked" in err[0],
          f"exit {code}: {err}")
    check(before == (os.stat(journal).st_ino, host.residue()),
          "it has changed the journal or what is in the kernel")
    host.daemon.kill()
    host.daemon.start()
    lab.settled(flow, client="10.1.0.9")
    flow.goes_on().finish()


@scenario(fam=(4, 6))
def what_hangs_says_why(lab, n):
    """No address, then a peer that does not answer: shown in the list of both
    ends while it lasts, and one line in the log for each."""
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = echo(client, server, fam=n.fam)
    lab.protected(flow)
    if lab.without_daemons:
        return

    def says(host, why):
        wait_until(f"{host.name} says {why}", lambda: (
            lab.entry(host, flow)["state"], lab.entry(host, flow)["reason"]
        ) == ("moving", why), 10)

    def told(host, text):
        return host.daemon.process.text().count(text)

    client.delete("eth0", n.cidr(1, 2))
    says(client, "no_address")
    wait_until("the log tells", lambda: told(client, "no other can be"), 10)
    server.daemon.pause()
    client.add("eth0", n.cidr(1, 9), nodad(n))
    says(client, "no_answer")
    wait_until("the log tells", lambda: told(client, "does not answer"), 10)
    server.daemon.resume()
    lab.settled(flow, client=n.ip(1, 9))
    check(lab.entry(client, flow)["reason"] is None, "a reason stays")
    flow.goes_on().finish()
    for text in "no other can be", "does not answer":
        check(told(client, text) == 1, f"{text!r}: {told(client, text)} lines")


def attempt_beside(lab, host, conf, *wrap):
    file = lab.path("second.conf")
    with open(file, "w") as f:
        f.write("".join(f"{k} = {conf_text(v)};\n" for k, v in conf.items()))
    p = host.run(*wrap, lab.program("saciped"), "-c", file, check=False,
                 timeout=10)
    return p.returncode, p.stderr_text.splitlines(), p.stdout_text


@scenario()
def sacipctl_and_permissions(lab):
    """Exit codes and JSON for scripts; others see only what is theirs."""
    n = Net(4)
    client, server = lan(lab, n)
    lab.daemons(client, server)
    flow = echo(client, server)
    lab.protected(flow)
    d = client.daemon
    e = lab.entry(client, flow)
    for name, kind in (("id", str), ("proto", str), ("state", str),
                       ("identity", dict), ("wire", dict), ("peer", str),
                       ("trust", str), ("age_s", int), ("moves", int)):
        check(isinstance(e[name], kind), f"list: {name} is {e[name]!r}")
    check(e["reason"] is None and e["trust"] == "first-contact" and
          e["id"].isdigit(), f"list: {e}")
    key = d.json("key")
    check(len(key["public_key"]) == 44 and key["fingerprint"], f"key: {key}")
    server_key = server.daemon.json("key")["fingerprint"]
    check(e["peer"] == server_key, f"peer {e['peer']}, not {server_key}")
    check(server_key in d.ctl("peers").stdout_text, "peers lacks it")
    check(str(flow.port) in d.ctl("show", e["id"]).stdout_text, "show lacks it")
    check(d.ctl("show", "1", check=False).returncode == 1 or e["id"] == "1",
          "show of an unknown flow")
    check(d.ctl("forget", "nobody", check=False).returncode == 1, "forget")
    for line in d.ctl("list").stdout_text.splitlines():
        check("\x1b" not in line, "colour off a terminal")
    other = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
             lab.program("sacipctl"), "-s", d.sock)
    for want, argv in (4, ("key",)), (4, ("forget", server_key)), \
            (4, ("move", "--to", n.ip(1, 2))):
        p = client.run(*other, *argv, check=False)
        check(p.returncode == want, f"as nobody, {argv}: exit {p.returncode}, "
                                    f"not {want}: {p.stderr_text}")
    p = client.run(*other, "list", "--json", check=False)
    check(p.returncode in (0, 4) and str(flow.port) not in p.stdout_text,
          "nobody sees root's flows")
    flow.finish()


@scenario()
def sighup_rereads(lab):
    """What can change at run time does; a bad file changes nothing."""
    n = Net(4)
    client, server = lan(lab, n)
    client.saciped()
    server.saciped()
    if lab.without_daemons:
        return
    flow = echo(client, server)
    wait_until("it is listed", lambda: lab.entry(client, flow), 5)
    d = client.daemon
    d.write_conf(nonsense=1)
    d.process.signal(signal.SIGHUP)
    wait_until("the bad file is logged", lambda: "nonsense" in
               d.process.text(), 5)
    check(d.process.alive(), "a bad file ended it")
    d.write_conf(nonsense=None, initiate=["0.0.0.0/0"])
    d.process.signal(signal.SIGHUP)
    lab.protected(flow)
    flow.finish()


@scenario()
def monitor_tells_events(lab):
    """One line per event: protected, moved."""
    n = Net(4)
    client, server = lan(lab, n)
    lab.daemons(client, server)
    if lab.without_daemons:
        return
    m = client.spawn(lab.program("sacipctl"), "-s", client.daemon.sock,
                     "monitor", name="monitor")
    flow = echo(client, server)
    lab.protected(flow)
    wait_until("the monitor names the flow",
               lambda: str(flow.port) in m.text(), 5)
    before = len(m.text().splitlines())
    client.replace("eth0", n.cidr(1, 2), n.cidr(1, 9))
    lab.settled(flow, client=n.ip(1, 9))
    for host, other, what in ((client, server, "moves_done: we"),
                              (server, client, "moves_committed: peer")):
        name = other.daemon.json("key")["fingerprint"]
        check(f"{what}, 1 flows with {name}, " in host.daemon.process.text(),
              f"the log of {host.name} does not tell with whom")
    wait_until("the monitor tells of the move", lambda: any(
        n.ip(1, 9) in x for x in m.text().splitlines()[before:]), 5)
    flow.finish()
    m.end()
