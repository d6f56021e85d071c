# SPDX-License-Identifier: GPL-2.0-or-later
"""lab: a small network of hosts on one machine.

Owns namespaces, links, daemons, captures and their end. A scenario runs in
a process, mount and network namespace of its own (`isolate`): whatever it
starts, mounts or makes goes with it, even when it is killed. Hosts are
network namespaces inside, joined by switches that live in the scenario's
first namespace, the fabric; a capture there is a capture on the wire.

Never decides what a good result is beyond what every scenario needs: each
daemon starts, ends in time and leaves nothing behind.
"""
import contextlib
import ctypes
import json
import mmap
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE, MS_BIND, MNT_DETACH = 0x4000, 1 << 18, 4096, 2
PR_SET_PDEATHSIG = 1
# The daemon's own defaults, and told to each one all the same: what a scenario
# looks for is what its daemons use.
CONTROL_PORT = 1021
MARK = 0x10000000
TABLE = 1021  # the guard's routing table; the mark's is the next one
QUEUE = 1021  # the first one
DRAIN_S = 5  # steering is gone this long after a move back, at the latest
libc = ctypes.CDLL(None, use_errno=True)


class Failed(AssertionError):
    """What a scenario promised did not happen."""


class Died(Failed):
    """A flow did not live. What a scenario without daemons must end with."""


class Skip(Exception):
    """The machine lacks what a scenario needs; the text says what."""


def libc_call(name, *args):
    if getattr(libc, name)(*args) != 0:
        e = ctypes.get_errno()
        raise OSError(e, f"{name}: {os.strerror(e)}")


def mount(source, target, kind, flags=0):
    libc_call("mount", source.encode(), target.encode(),
              kind.encode() if kind else None, ctypes.c_ulong(flags), None)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def isolate(work):
    """Runs work() as the first process of its own world; returns its exit
    status. Killing the process that called this ends that world."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    try:
        libc_call("unshare", CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET)
    except OSError as e:
        raise Skip(f"no namespaces here: {e.strerror}") from None
    first = os.fork()
    if first:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
        except BaseException:  # interrupted: that world ends first
            os.kill(first, signal.SIGKILL)
            os.waitpid(first, 0)
            raise
    try:
        die_with_parent()
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        mount("proc", "/proc", "proc")
        mount("none", "/run", "tmpfs")
        os.makedirs("/run/netns")
        os.makedirs("/run/sshd", mode=0o755)
        os._exit(work() or 0)
    except BaseException:  # the child must never run its parent's code
        import traceback
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


class Patience:
    """How much longer everything may take than on a quiet machine."""
    times = 1.0


def patient(seconds):
    return seconds * Patience.times


def wait_until(what, ready, timeout=10, every=None, error=Failed):
    """For states that no event announces. Returns what ready() returned. A
    question that takes long, as on a busy machine, is asked less often, and so
    is one that was asked for long, but for those with a time of their own."""
    timeout = patient(timeout)
    begin = time.monotonic()
    end = begin + timeout
    last = None
    while True:
        asked = time.monotonic()
        try:
            value = ready()
            if value:
                return value
        except Died:
            raise
        except Failed as e:
            last = e
        now = time.monotonic()
        if now > end:
            raise error(f"not within {timeout} s: {what}"
                        + (f" ({last})" if last else ""))
        time.sleep(max(every or max(0.03, (now - begin) / 8),
                       2 * (now - asked)))


def check(condition, text, error=Failed):
    if not condition:
        raise error(text)


def family(addr):
    return 6 if ":" in addr else 4


def plain(cidr):
    return cidr.split("/")[0]


class Process:
    """A program in a host's namespace, its output in a file."""

    def __init__(self, host, argv, name, stdin=None, env=None, stdout=None):
        self.host, self.name = host, name
        self.argv = [str(a) for a in argv]
        self.log = host.lab.path(f"{host.name}.{name}.log")
        with open(self.log, "ab") as log, host:
            self.popen = subprocess.Popen(
                self.argv, stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or log, stderr=log,
                env=dict(os.environ, **(env or {})), start_new_session=True)
        self.pid = self.popen.pid
        host.lab.processes.append(self)

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def wait(self, timeout=10):
        try:
            return self.popen.wait(patient(timeout))
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.host.name}: {self.name} did not end within "
                         f"{timeout} s") from None

    def end(self, timeout=5):
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(patient(timeout))
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


class Host:
    """A network namespace. `with host:` runs what follows inside it."""

    def __init__(self, lab, name):
        self.lab, self.name, self.daemon = lab, name, None
        self.path = f"/run/netns/{name}"
        self.addresses, self.stack = [], []
        open(self.path, "x").close()
        outer = lab.fabric_fd
        libc_call("unshare", CLONE_NEWNET)
        mount("/proc/thread-self/ns/net", self.path, None, MS_BIND)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        # addresses made with the host are usable at once; see Lab.build
        for f in "all", "default":
            self._write(f"net/ipv6/conf/{f}/accept_dad", 0)
        self._write("net/ipv4/conf/all/promote_secondaries", 1)
        libc_call("setns", outer, CLONE_NEWNET)

    def __enter__(self):
        self.stack.append(os.open("/proc/thread-self/ns/net",
                                  os.O_RDONLY | os.O_CLOEXEC))
        libc_call("setns", self.fd, CLONE_NEWNET)
        return self

    def __exit__(self, *unused):
        fd = self.stack.pop()
        libc_call("setns", fd, CLONE_NEWNET)
        os.close(fd)

    @staticmethod
    def _write(path, value):
        with open(f"/proc/sys/{path}", "w") as f:
            f.write(str(value))

    def sysctl(self, name, value=None):
        """Dots separate, as sysctl(8) has it; returns the old value."""
        path = name.replace(".", "/")
        with self:
            with open(f"/proc/sys/{path}") as f:
                old = f.read().strip()
            if value is not None:
                self._write(path, value)
        return old

    def run(self, *argv, check=True, input=None, timeout=30):
        try:
            with self:
                p = subprocess.Popen(
                    [str(a) for a in argv], text=True, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    stdin=subprocess.PIPE if input else subprocess.DEVNULL)
        except FileNotFoundError:
            raise Skip(f"no {argv[0]} here") from None
        try:
            out, err = p.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            raise Failed(f"{self.name}: {argv} took over {timeout} s") from None
        p.stdout_text, p.stderr_text = out, err
        if check and p.returncode:
            raise Failed(f"{self.name}: {' '.join(map(str, argv))}: exit "
                         f"{p.returncode}: {err.strip() or out.strip()}")
        return p

    def spawn(self, *argv, name=None, **kw):
        return Process(self, argv, name or os.path.basename(str(argv[0])), **kw)

    def ip(self, *lines):
        """Lines for `ip -batch`, one process for all of them."""
        self.run("ip", "-batch", "-", input="\n".join(lines) + "\n")

    def socket(self, fam, kind, proto=0):
        with self:
            return socket.socket(fam, kind, proto)

    def address(self, fam=4):
        for a in self.addresses:
            if family(a) == fam and not a.startswith("fe80"):
                return plain(a)
        raise Failed(f"{self.name} has no IPv{fam} address")

    # moves, as an administrator or a network manager would make them

    def add(self, dev, cidr, *how):
        """`how`: nodad, or lifetimes, as ip-address(8) has them."""
        self.ip(f"address add {cidr} dev {dev} {' '.join(map(str, how))}")
        self.addresses.append(cidr)

    def delete(self, dev, cidr):
        self.ip(f"address del {cidr} dev {dev}")
        if cidr in self.addresses:
            self.addresses.remove(cidr)

    def add_now(self, dev, cidr):
        """As delete_now(), for a new address (without DAD)."""
        self.addresses.append(cidr)
        return self._address_now(dev, cidr, 20, 0x605)  # CREATE, EXCL

    def delete_now(self, dev, cidr):
        """As delete(), by one system call. Returns the times (CLOCK_REALTIME,
        ns) just before and just after: the kernel removes it in between."""
        if cidr in self.addresses:
            self.addresses.remove(cidr)
        return self._address_now(dev, cidr, 21, 5)

    def _address_now(self, dev, cidr, kind, flags):
        fam = socket.AF_INET if family(cidr) == 4 else socket.AF_INET6
        raw = socket.inet_pton(fam, plain(cidr))
        with self:
            index = socket.if_nametoindex(dev)
            s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        body = struct.pack("BBBBi", fam, int(cidr.split("/")[1]), 2, 0, index)
        for attr in 1, 2:  # IFA_ADDRESS, IFA_LOCAL
            body += struct.pack("HH", 4 + len(raw), attr) + raw
        msg = struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body
        before = time.time_ns()
        s.send(msg)
        after = time.time_ns()
        error = struct.unpack_from("i", s.recv(4096), 16)[0]
        s.close()
        check(error == 0, f"{cidr} on {dev}: {os.strerror(-error)}")
        return before, after

    def replace(self, dev, old, new, *how):
        """Add by hand, then delete by hand: no time in between."""
        self.ip(f"address add {new} dev {dev} {' '.join(how)}",
                f"address del {old} dev {dev}")
        self.addresses.append(new)
        if old in self.addresses:
            self.addresses.remove(old)

    def link(self, dev, *what):
        self.ip(f"link set {dev} {' '.join(map(str, what))}")

    def route(self, *what):
        self.ip("route replace " + " ".join(what))

    def is_tentative(self, addr):
        out = self.run("ip", "-j", "address", "show", "to", addr).stdout_text
        return any(i.get("tentative") or i.get("dadfailed")
                   for d in json.loads(out) for i in d.get("addr_info", [])
                   if i.get("local") == plain(addr))

    def usable(self, addr):
        wait_until(f"{addr} is usable on {self.name}",
                   lambda: not self.is_tentative(addr), 5, 0.05)

    # what the kernel says

    def read(self, path):
        with self, open(path) as f:
            return f.read()

    def queued_each(self):
        """Packets that were ever put into each nfnetlink queue that is open."""
        try:
            rows = self.read("/proc/thread-self/net/netfilter/nfnetlink_queue")
        except OSError:
            return {}
        return {r.split()[0]: int(r.split()[7]) for r in rows.splitlines()}

    def queued(self):
        return sum(self.queued_each().values())

    def queues(self):
        try:
            return self.read("/proc/thread-self/net/netfilter/nfnetlink_queue")
        except OSError:
            return ""

    def table(self):
        """`nft -j list table inet sacip` as a list, [] where there is none."""
        p = self.run("nft", "-j", "list", "table", "inet", "sacip", check=False)
        return [] if p.returncode else json.loads(p.stdout_text)["nftables"]

    def steered(self):
        """Elements of the daemon's sets, by set."""
        found = {}
        for o in self.table():
            s = o.get("set") or o.get("map")
            if s and s.get("elem"):
                found[s["name"]] = s["elem"]
        return found

    def residue(self):
        """What the daemon makes in the kernel and has to take away."""
        def out(*argv, **kw):
            text = self.run(*argv, check=False, **kw).stdout_text
            return sorted(text.split("\n"))
        t = self.daemon.conf["table"] if self.daemon else TABLE
        asked = "".join(f"{x} show {y}\n" for x, y in (
            ("rule", ""), ("route", f"table {t}"), ("route", f"table {t + 1}"),
            ("address", "dev lo")))
        # on lo the kernel looks for no duplicate, but a moment later
        return {f"ip {f}": [r.replace(" tentative", "") for r in out(
            "ip", "-o", f, "-force", "-batch", "-", input=asked)]
            for f in ("-4", "-6")} | {
            "nft": [r for r in out("nft", "list", "tables") if "sacip" in r],
            "queues": self.queues().split("\n"),
        }

    def saciped(self, **conf):
        """Starts a daemon here (the lab's defaults below conf) and waits
        until it says that it is ready."""
        self.daemon = Daemon(self, conf)
        return self.daemon

    def mac(self, dev):
        out = self.run("ip", "-j", "link", "show", dev).stdout_text
        return bytes.fromhex(json.loads(out)[0]["address"].replace(":", ""))


def conf_text(value, depth=0):
    """A value in libconfig's notation."""
    pad = "\t" * depth
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{ " + " ".join(f"{k} = {conf_text(v)};"
                               for k, v in value.items()) + " }"
    if value and isinstance(value[0], dict):
        return "(\n\t" + pad + (",\n\t" + pad).join(map(conf_text, value)) + " )"
    return "[ " + ", ".join(map(conf_text, value)) + " ]"


class Daemon:
    """One saciped with directories of its own."""

    READY_S = 10
    END_S = 15

    def __init__(self, host, conf):
        self.host, self.lab = host, host.lab
        base = self.lab.path(host.name)
        os.makedirs(base, exist_ok=True)
        self.conf = dict(self.lab.conf, runtime_dir=base + "/run",
                         state_dir=base + "/state")
        self.conf.update(conf)
        self.sock = self.conf["runtime_dir"] + "/saciped.sock"
        self.file = base + "/saciped.conf"
        self.process, self.env = None, {}
        host.daemon = self
        self.start()

    def write_conf(self, **changes):
        self.conf.update(changes)
        with open(self.file, "w") as f:
            for k, v in self.conf.items():
                if v is not None:
                    f.write(f"{k} = {conf_text(v)};\n")

    def start(self):
        self.write_conf()
        if self.lab.without_daemons:
            return
        if not hasattr(self, "before"):
            self.before = self.host.residue()
        path = self.lab.path(self.host.name + ".notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            self.process = self.host.spawn(
                self.lab.program("saciped"), "-c", self.file, "-d",
                name="saciped", env=dict(self.env, NOTIFY_SOCKET=path))
            pidfd = os.pidfd_open(self.process.pid)
            try:
                self._await_ready(notify, pidfd)
            finally:
                os.close(pidfd)

    def _await_ready(self, notify, pidfd):
        end = time.monotonic() + patient(self.READY_S)
        while True:
            left = end - time.monotonic()
            ready, _, _ = select.select([notify, pidfd], [], [], max(left, 0))
            if notify in ready:
                if b"READY=1" in notify.recv(4096):
                    return
            elif pidfd in ready:
                raise Failed(f"{self.host.name}: saciped ended at start, exit "
                             f"{self.process.wait()}: {self.tail(5)}")
            elif left <= 0:
                raise Failed(f"{self.host.name}: saciped not ready within "
                             f"{self.READY_S} s: {self.tail(5)}")

    def tail(self, lines=30):
        return "\n".join(self.process.text().splitlines()[-lines:])

    def ctl(self, *args, check=True):
        if not self.process:
            raise Skip("asks a daemon")
        return self.host.run(self.lab.program("sacipctl"), "-s", self.sock,
                             *args, check=check)

    def json(self, *args):
        text = self.ctl(*args, "--json").stdout_text
        try:
            return json.loads(text)
        except ValueError:
            raise Failed(f"{self.host.name}: sacipctl {args} --json is no "
                         f"JSON: {text[:200]}") from None

    def list(self):
        return self.json("list")

    def counters(self):
        return self.json("status")["counters"]

    def counter(self, name):
        c = self.counters()
        check(name in c, f"{self.host.name}: no counter named {name}")
        return c[name]

    def pause(self):
        """Stuck, not dead: SIGSTOP."""
        if self.process:
            self.process.signal(signal.SIGSTOP)

    def resume(self):
        if self.process:
            self.process.signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL: no farewell."""
        if self.process:
            self.process.signal(signal.SIGKILL)
            self.process.wait()
            self.check_log()

    def detach(self):
        """SIGUSR2: the kernel's state stays, the next one takes it up."""
        if not self.process:
            return
        self.process.signal(signal.SIGUSR2)
        code = self.process.wait(self.END_S)
        check(code == 0, f"{self.host.name}: detached with {code}: "
                         f"{self.tail(5)}")
        self.check_log()

    def stop(self):
        """SIGTERM; whatever it made in the kernel must be gone then."""
        if not self.process or self.process.popen.poll() is not None:
            return
        self.resume()
        self.process.signal(signal.SIGTERM)
        code = self.process.wait(self.END_S)
        check(code == 0, f"{self.host.name}: saciped ended with {code}: "
                         f"{self.tail(5)}")
        self.check_log()
        after = self.host.residue()
        for what, was in self.before.items():
            new = [x for x in after[what] if x not in was]
            check(not new, f"{self.host.name}: saciped left {what}: {new}")
        run = self.conf["runtime_dir"]
        left = os.listdir(run) if os.path.isdir(run) else []
        check(not left, f"{self.host.name}: left in runtime_dir: {left}")

    def check_log(self):
        for line in self.process.text().splitlines():
            check("AddressSanitizer" not in line and "runtime error:" not in
                  line and "LeakSanitizer" not in line,
                  f"{self.host.name}: {line}")


class Capture:
    """Frames at one port of a switch, kept by the kernel until asked for:
    an AF_PACKET socket with a filter that tcpdump compiled."""

    ROOM = 256 << 20

    def __init__(self, lab, host, dev, expression, snap=128):
        self.lab, self.what = lab, f"{host.name} {dev}: {expression}"
        with lab.fabric():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.sock.setsockopt(socket.SOL_SOCKET, 33, self.ROOM)  # RCVBUFFORCE
            self.sock.setsockopt(socket.SOL_SOCKET, 35, 1)  # TIMESTAMPNS
            self._filter(expression, snap)
            self.sock.bind((f"{host.name}.{dev}", 3))  # ETH_P_ALL
        self.sock.setblocking(False)
        self.frames, self.times = [], []

    def _filter(self, expression, snap):
        if not shutil.which("tcpdump"):
            raise Skip("no tcpdump here")
        text = subprocess.run(
            ["tcpdump", "-ddd", "-y", "EN10MB", "-s", str(snap), expression],
            check=True, capture_output=True, text=True).stdout.split("\n")
        ops = b"".join(struct.pack("HBBI", *map(int, row.split()))
                       for row in text[1:] if row)
        buf = ctypes.create_string_buffer(ops)
        prog = struct.pack("HL", len(ops) // 8, ctypes.addressof(buf))
        self.sock.setsockopt(socket.SOL_SOCKET, 26, prog)  # ATTACH_FILTER

    def read(self):
        """All frames so far, in order. The first ones may have come before
        the kernel began to stamp: they then bear the time of this call, and
        get that of what came after them."""
        first = len(self.times)
        while True:
            try:
                frame, extra, _, _ = self.sock.recvmsg(65536, 64)
            except BlockingIOError:
                break
            s, ns = struct.unpack("qq", extra[0][2])
            self.frames.append(frame)
            self.times.append(s * 1000000000 + ns)
        for i in range(len(self.times) - 2, first - 1, -1):
            self.times[i] = min(self.times[i], self.times[i + 1])
        lost = struct.unpack("II", self.sock.getsockopt(263, 6, 8))[1]
        check(not lost, f"capture {self.what} lost {lost} frames")
        return self.frames

    def since(self, ns):
        """Frames that passed after this CLOCK_REALTIME."""
        self.read()
        return [f for f, t in zip(self.frames, self.times) if t > ns]

    def none(self, why, since=0):
        found = self.since(since)
        check(not found, f"{why}: {len(found)} packets ({self.what}), the "
                         f"first: {found[0][:74].hex(' ') if found else ''}")

    def some(self, least=1):
        n = len(self.read())
        check(n >= least, f"capture {self.what}: {n} packets, not {least}")
        return n

    def save(self, path):
        with contextlib.suppress(Failed):
            self.read()
        with open(path, "wb") as f:
            f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
            for p, t in zip(self.frames, self.times):
                f.write(struct.pack("<IIII", t // 1000000000,
                                    t // 1000 % 1000000, len(p), len(p)) + p)


class Lab:
    """The hosts of one scenario. Made inside isolate()."""

    def __init__(self, directory, bindir, without_daemons=False,
                 rewrite="auto"):
        self.directory, self.bindir = directory, bindir
        self.without_daemons = without_daemons
        self.hosts, self.processes, self.captures = {}, [], []
        self.flows, self.last_port = [], 7000
        self.at_end = []  # what a scenario asks for when its work is done
        self.conf = {"long_lived_after_s": 0, "rewrite": rewrite,
                     "port": CONTROL_PORT, "mark": MARK, "table": TABLE,
                     "queue": QUEUE}
        self.fabric_fd = os.open("/proc/thread-self/ns/net",
                                 os.O_RDONLY | os.O_CLOEXEC)
        with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as f:
            f.write("1")  # switches have no addresses

    def path(self, name):
        return os.path.join(self.directory, name)

    def program(self, name):
        for d in (self.bindir, os.path.join(self.bindir, "src"),
                  os.path.join(self.bindir, "tests/lab"),
                  os.path.join(self.bindir, "bench")):
            p = os.path.join(d, name)
            if os.access(p, os.X_OK) and not os.path.isdir(p):
                return p
        p = shutil.which(name)
        if not p:
            raise Skip(f"no {name} (looked in {self.bindir})")
        return p

    @contextlib.contextmanager
    def fabric(self):
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        libc_call("setns", self.fabric_fd, CLONE_NEWNET)
        try:
            yield
        finally:
            libc_call("setns", here, CLONE_NEWNET)
            os.close(here)

    def build(self, text):
        """One line an interface: HOST DEV ADDR[,ADDR] SEGMENT [mtu N]
        [via GATEWAY[,GATEWAY]]. A segment is a switch; one whose name starts
        with "=" is a bare cable between two hosts. "-" for no address. Hosts
        whose name starts with "router" forward. Returns the hosts in order
        of appearance."""
        fabric, ports, setup, order, made = [], {}, {}, [], []
        for line in filter(None, (x.strip() for x in text.splitlines())):
            name, dev, addrs, segment, *rest = line.split()
            if name not in self.hosts:
                self.hosts[name] = Host(self, name)
            if name not in order:
                order.append(name)
            opts = dict(zip(rest[::2], rest[1::2]))
            ports.setdefault(segment, []).append((name, dev))
            mtu = f" mtu {opts['mtu']}" if "mtu" in opts else ""
            todo = setup.setdefault(name, (["link set lo up"], []))
            host = self.hosts[name]
            for a in addrs.split(",") if addrs != "-" else ():
                host.addresses.append(a)
                todo[0].append(f"address add {a} dev {dev}"
                               + (" nodad" if ":" in a else ""))
            todo[0].append(f"link set {dev} up{mtu}")
            for g in opts["via"].split(",") if "via" in opts else ():
                todo[1].append(f"-{family(g)} route replace default via {g} "
                               f"dev {dev}")
            made.append((host, dev, opts.get("mtu")))
        for segment, ends in ports.items():
            fabric += self._segment(segment, ends)
        with self.fabric():
            subprocess.run(["ip", "-batch", "-"], text=True, check=True,
                           input="\n".join(fabric) + "\n")
        for name, (first, last) in setup.items():
            self.hosts[name].run(
                "ip", "-batch", "-",
                input="\n".join(first) + "\n")
            batch = [x for x in last]
            for x in batch:
                self.hosts[name].run("ip", *x.split())
            if name.startswith("router"):
                self.hosts[name].sysctl("net.ipv4.ip_forward", 1)
                self.hosts[name].sysctl("net.ipv6.conf.all.forwarding", 1)
        for host, dev, _ in made:
            host.sysctl(f"net.ipv6.conf.{dev}.accept_dad", 1)
        return [self.hosts[n] for n in order]

    @staticmethod
    def _segment(segment, ends):
        if segment.startswith("="):
            (a, x), (b, y) = ends
            return [f"link add {x} netns {a} type veth peer name {y} netns {b}"]
        out = []
        if not os.path.exists(f"/run/netns/.{segment}"):
            open(f"/run/netns/.{segment}", "x").close()
            out += [f"link add {segment} mtu 9000 type bridge mcast_snooping 0 "
                    "forward_delay 0", f"link set {segment} up"]
        for host, dev in ends:
            out += [f"link add {host}.{dev} type veth peer name {dev} "
                    f"netns {host}",
                    f"link set {host}.{dev} master {segment} up"]
        return out

    def port(self):
        self.last_port += 1
        return self.last_port

    def capture(self, host, dev, expression, **kw):
        c = Capture(self, host, dev, expression, **kw)
        self.captures.append(c)
        return c

    def daemons(self, first, *others, **conf):
        """A daemon on each host; the first one opens the handshakes."""
        first.saciped(initiate=["0.0.0.0/0", "::/0"], **conf)
        for h in others:
            h.saciped(**conf)

    # flows, as both ends list them

    @staticmethod
    def entries(host, flow, listed=None):
        """What `host` lists of a flow: one entry for each connection. `listed`
        is what it has listed just now."""
        many = getattr(flow, "many", 1)
        found = []
        for e in host.daemon.list() if listed is None else listed:
            i = e["identity"]
            near, far = i["local"], i["remote"]
            if host is flow.server:
                near, far = far, near
            if (e["proto"] == flow.proto and
                    (far["addr"], far["port"]) == (flow.far_addr,
                                                   flow.server_port) and
                    near["addr"] == flow.near_addr and
                    (many > 1 or near["port"] == flow.port)):
                found.append(e)
        check(len(found) == many,
              f"{host.name} lists {len(found)} of {flow}, not {many}")
        return found

    def entry(self, host, flow):
        return self.entries(host, flow)[0]

    def _ready(self, what, flows, is_ready, timeout):
        """Asks both ends, once for all flows, until `is_ready` is true of each:
        a function of the flow and what its client and its server list."""
        left = list(flows)

        def ready():
            listed = {}
            while left:
                f = left[0]
                for h in f.client, f.server:
                    if h not in listed:
                        listed[h] = h.daemon.list()
                is_ready(f, *(self.entries(h, f, listed[h])
                              for h in (f.client, f.server)))
                del left[0]
            return True
        if not self.without_daemons:
            wait_until(f"{', '.join(map(str, flows))}: {what}", ready, timeout)

    def protected(self, *flows, timeout=10):
        """Waits until both ends own them."""
        def is_ready(f, *ends):
            for h, found in zip((f.client, f.server), ends):
                bad = [(e["state"], e["reason"]) for e in found
                       if e["state"] != "protected"]
                check(not bad, f"{len(bad)} of {f} at {h.name}: {bad[:1]}")
        self._ready("protected", flows, is_ready, timeout)

    def settled(self, *flows, client=None, server=None, timeout=10):
        """Waits until both ends send from and to these addresses and say so;
        None: the address of the identity."""
        def is_ready(f, *ends):
            wires = []
            for h, near, far, mine in zip((f.client, f.server),
                                          (client, server), (server, client),
                                          ends):
                for e in mine:
                    i, w = e["identity"], e["wire"]
                    want = (near or i["local"]["addr"],
                            far or i["remote"]["addr"])
                    got = (w["local"]["addr"], w["remote"]["addr"])
                    state = "protected" if i == w else "moved"
                    check(got == want and e["state"] == state,
                          f"{f} at {h.name} is {e['state']} {got}, not "
                          f"{state} {want}")
                wires.append(sorted(
                    [(e["wire"][a]["addr"], e["wire"][a]["port"])
                     for a in (("local", "remote") if h is f.client
                               else ("remote", "local"))] for e in mine))
            check(wires[0] == wires[1], f"{f}: the ends disagree: "
                                        f"{wires[0][:1]} {wires[1][:1]}")
        self._ready("settled", flows, is_ready, timeout)

    def wire(self, host, flow):
        """((addr, port), (addr, port)) on the wire, as `host` sees it."""
        w = self.entry(host, flow)["wire"]
        return tuple((w[a]["addr"], w[a]["port"]) for a in ("local", "remote"))

    # the end

    def finish(self):
        """Asks what the scenario wants asked, ends the daemons and checks
        what they leave."""
        for ask in self.at_end:
            ask()
        for h in self.hosts.values():
            if h.daemon:
                h.daemon.stop()

    def autopsy(self):
        """On failure: what the daemons, the kernel and the flows say."""
        out = []
        for h in self.hosts.values():
            d = h.daemon
            if d and d.process:
                d.resume()
                for what in ("list", "peers", "status"):
                    with contextlib.suppress(Failed, Skip, OSError):
                        p = d.ctl(what, check=False)
                        rows = [r for r in p.stdout_text.splitlines()
                                if not r.endswith(" 0")]
                        out += [f"-- {h.name}: sacipctl {what}", *rows,
                                p.stderr_text]
                out += [f"-- {h.name}: log", d.tail(40)]
            with contextlib.suppress(Failed, OSError):
                for argv in (["ip", "-br", "address"], ["ip", "rule"],
                             ["ip", "-6", "rule"],
                             ["ip", "route", "show", "table", "all"],
                             ["nft", "list", "ruleset"]):
                    p = h.run(*argv, check=False)
                    with open(self.path(h.name + ".kernel"), "a") as f:
                        f.write(f"# {' '.join(argv)}\n{p.stdout_text}\n")
                with open(self.path(h.name + ".kernel"), "a") as f:
                    f.write("# queues\n" + h.queues())
        for n, c in enumerate(self.captures):
            with contextlib.suppress(OSError):
                c.save(self.path(f"capture{n}.pcap"))
        return "\n".join(out)


class Watch:
    """The counters of a running traffic program (struct watch)."""

    FIELDS = ("rx_bytes", "tx_bytes", "gap_ns", "last_rx_ns", "reset",
              "rtt_ns", "repeats", "errors")

    def __init__(self, path):
        with open(path, "ab") as f:
            f.truncate(8 * len(self.FIELDS))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 8 * len(self.FIELDS))

    def __getattr__(self, name):
        try:
            i = self.FIELDS.index(name)
        except ValueError:
            raise AttributeError(name) from None
        return struct.unpack_from("Q", self.map, 8 * i)[0]

    def forget_gap(self):
        struct.pack_into("Q", self.map, 32, 1)
