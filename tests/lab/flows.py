# SPDX-License-Identifier: GPL-2.0-or-later
"""flows: connections with applications at both ends.

Owns the programs (traffic, OpenSSH, a real telnetd) and the comparison of
what both ends sent and got. Every flow can be asked whether it still goes
on, and is finished in an orderly way with its data checked by hash. Never
touches an address or a route.
"""
import collections
import hashlib
import json
import os
import re
import select
import socket
import subprocess
import threading
import time

from lab import Died, Failed, Watch, check, family, patient, wait_until

GOES_ON_S = 6
FINISH_S = 30
Result = collections.namedtuple(
    "Result", "what bytes gap_ms rtt_ms local_hash remote_hash client server")


class Traffic:
    """One `traffic` client and its server.

    kind: echo (request and response), up (the client sends), down (it only
    receives), half (and has said so: its FIN is sent). pace_us 0: as fast
    as it goes. via: what starts the two."""

    def __init__(self, client, server, kind="echo", proto="tcp", pace_us=4000,
                 to=None, source=None, source_port=0, port=None, bytes=0,
                 busy=1, idle=0, repeat_ms=100, fam=4, listen=None,
                 size=64, via=()):
        lab = client.lab
        self.lab, self.client, self.server = lab, client, server
        self.kind, self.proto, self.bytes = kind, proto, bytes
        self.many, self.fam, self.is_idle = busy + idle, fam, not busy
        to = to or server.address(fam)
        self.server_port = port or lab.port()
        program = lab.program("traffic")
        tag = f"{proto}{self.server_port}"
        files = [lab.path(f"{h.name}.{tag}.{end}.watch")
                 for h, end in ((client, "client"), (server, "server"))]
        self.watches = [Watch(f) for f in files]
        self.at_server = self._start(
            server, [*via, program, "-s", files[1], proto + "-serve",
                     listen or to, self.server_port], tag + "s")
        self._line(self.at_server)
        argv = [*via, program, "-s", files[0], "-r", repeat_ms, "-m", size]
        if source:
            argv += ["-b", source]
        if source_port:
            argv += ["-p", source_port]
        argv += [proto, to, self.server_port, kind, pace_us]
        if kind == "echo" and proto == "tcp":
            argv += [busy, idle]
        elif bytes:
            argv += [bytes]
        self.at_client = self._start(client, argv, tag + "c")
        ready = self._line(self.at_client)
        self.port, self.near_addr = ready["ready"], ready["addr"]
        self.far_addr = to
        lab.flows.append(self)

    def __str__(self):
        return (f"{self.proto} {self.kind} {self.client.name}:{self.port} -> "
                f"{self.server.name}:{self.server_port}")

    def _start(self, host, argv, name):
        p = host.spawn(*argv, name=name, stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE)
        p.pending = b""
        return p

    @staticmethod
    def _line(p, timeout=None):
        """The next line of a program's output, as JSON."""
        timeout = timeout or patient(10)
        end = time.monotonic() + timeout
        fd = p.popen.stdout.fileno()
        while b"\n" not in p.pending:
            left = end - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise Died(f"{p.host.name}: {' '.join(p.argv[-6:])}: silent "
                           f"for {timeout} s")
            data = os.read(fd, 65536)
            if not data:
                raise Failed(f"{p.host.name}: {' '.join(p.argv[-6:])} ended: "
                             f"{p.text()[-200:]}")
            p.pending += data
        line, p.pending = p.pending.split(b"\n", 1)
        found = json.loads(line)
        if "role" not in found and found.get("error"):
            raise Failed(f"{p.host.name}: {found['error']}")
        return found

    @staticmethod
    def _tell(p, what):
        try:
            p.popen.stdin.write(what.encode() + b"\n")
            p.popen.stdin.flush()
        except BrokenPipeError:
            pass

    @property
    def receiver(self):
        """The counters of the end that gets the data."""
        return self.watches[1 if self.kind == "up" else 0]

    @property
    def sender(self):
        return self.watches[1 if self.kind in ("down", "half") else 0]

    def goes_on(self, messages=30, timeout=None):
        """Waits until this much more has arrived. What was in flight when it
        is asked does not count: the receiver has to pass what the sender had
        sent by now."""
        least = max(self.receiver.rx_bytes,
                    self.sender.tx_bytes if self.proto == "tcp" else 0)
        least += 64 * messages
        if self.bytes:
            least = min(least, self.bytes)

        def passed():
            if not self.at_client.alive() and not self.bytes:
                raise Died(f"{self}: the client has ended: "
                           f"{self._last_words()}")
            return self.receiver.rx_bytes >= least
        wait_until(f"{self} goes on ({least} bytes, has "
                   f"{self.receiver.rx_bytes})", passed, timeout or GOES_ON_S,
                   0.002, Died)
        return self

    def reaches(self, bytes_, timeout=60):
        """Waits until so much has arrived in all."""
        began = time.monotonic()

        def passed():
            if (min(self.silent_ms() / 1000, time.monotonic() - began) >
                    patient(GOES_ON_S)):
                raise Died(f"{self}: nothing for {patient(GOES_ON_S)} s, "
                           f"{self.receiver.rx_bytes} bytes so far")
            return self.receiver.rx_bytes >= bytes_
        wait_until(f"{self} reaches {bytes_} bytes", passed, timeout, 0.002,
                   Died)

    def _last_words(self):
        try:
            return self._line(self.at_client, 1)
        except Failed as e:
            return e

    def forget_gap(self):
        for w in self.watches:
            w.forget_gap()

    @property
    def gap_ms(self):
        return self.receiver.gap_ns / 1e6

    def silent_ms(self):
        return (time.monotonic_ns() - self.receiver.last_rx_ns) / 1e6

    def echo_all(self, timeout=None):
        """A message on every connection; ms until the last was answered."""
        self.echo_ask()
        return self.echo_answered(timeout)

    def echo_ask(self):
        self._tell(self.at_client, "echo")

    def echo_answered(self, timeout=None):
        r = self._line(self.at_client, timeout or patient(FINISH_S))
        check(r.get("echoed") == self.many, f"{self}: {r}")
        return r["last_ms"]

    def finish(self, timeout=None):
        """Ends it in order; both ends must have the same data."""
        if self in self.lab.flows:
            self.lab.flows.remove(self)
        if not self.bytes:
            self._tell(self.at_server if self.kind == "half"
                       else self.at_client, "stop")
        c = self._line(self.at_client, timeout or patient(FINISH_S))
        self.at_client.wait(5)
        self._tell(self.at_server, "stop")
        s = self._line(self.at_server)
        self.at_server.wait(5)
        self._compare(c, s)
        end = s if self.kind == "up" else c
        back = c if self.kind == "up" else s
        return Result(str(self), c["tx_bytes"] + c["rx_bytes"], end["gap_ms"],
                      c["rtt_max_ms"], back["tx_hash"], end["rx_hash"], c, s)

    def _compare(self, c, s):
        for r in c, s:
            check(not r["error"], f"{self}: {r['role']} got {r['error']}", Died)
        if self.proto == "udp" and self.kind != "echo":
            tx, rx = (c, s) if self.kind == "up" else (s, c)
            check(not rx["duplicates"] and not rx["reordered"],
                  f"{self}: {rx['duplicates']} duplicates, "
                  f"{rx['reordered']} out of order")
            check(rx["received"] <= tx["sent"], f"{self}: {tx} {rx}")
            return
        check(c["tx_hash"] == s["rx_hash"] and c["tx_bytes"] == s["rx_bytes"],
              f"{self}: sent {c['tx_bytes']} {c['tx_hash']}, the server got "
              f"{s['rx_bytes']} {s['rx_hash']}")
        check(s["tx_hash"] == c["rx_hash"] and s["tx_bytes"] == c["rx_bytes"],
              f"{self}: the server sent {s['tx_bytes']} {s['tx_hash']}, came "
              f"{c['rx_bytes']} {c['rx_hash']}")
        check(c["tx_bytes"] + c["rx_bytes"] > 0, f"{self}: no data at all")

    def lost(self, result):
        """Datagrams of a one-way UDP flow that never came."""
        tx, rx = ((result.client, result.server) if self.kind == "up"
                  else (result.server, result.client))
        return tx["sent"] - rx["received"]


def echo(client, server, **kw):
    return Traffic(client, server, "echo", **kw)


def udp(client, server, kind="echo", **kw):
    return Traffic(client, server, kind, "udp", **kw)


def bulk(client, server, bytes=0, kind="up", **kw):
    return Traffic(client, server, kind, pace_us=0, bytes=bytes, **kw)


def copy(client, server, kind="up", **kw):
    """16 MB/s in full-sized segments: leaves the machine to others."""
    return Traffic(client, server, kind, size=16384, **kw)


def stream(client, server, kind="up", **kw):
    return Traffic(client, server, kind, **kw)


class Ticker:
    """Reads numbered lines from a remote shell, checks that none is missing
    and that the other end's digest of all of them is the same."""

    def __init__(self, process):
        self.process, self.count, self.gap_s = process, 0, 0.0
        self.last, self.wrong, self.end = None, None, None
        self.hash = hashlib.blake2b(digest_size=16)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for raw in self.process.popen.stdout:
            line = raw.decode(errors="replace").strip("\r\n\0 ")
            if line.startswith("end "):
                self.end = line.split()
                return
            if not re.fullmatch(r"\d+", line):
                if self.count:
                    self.wrong = self.wrong or repr(line)
                continue  # a banner
            now = time.monotonic()
            if self.last is not None:
                self.gap_s = max(self.gap_s, now - self.last)
            self.last = now
            if int(line) != self.count + 1 and not self.wrong:
                self.wrong = f"{line} after {self.count}"
            self.count = int(line)
            self.hash.update(b"%d\n" % self.count)

    def wait(self, more, timeout, what):
        least = self.count + more

        def passed():
            if not self.process.alive():
                raise Died(f"{what} ended: {self.process.text()[-300:]}")
            return self.count >= least
        wait_until(f"{what} goes on (line {least})", passed,
                   timeout or GOES_ON_S, 0.005, Died)

    def finish(self, what):
        self.thread.join(patient(FINISH_S))
        check(self.end, f"{what}: no last line, {self.count} lines "
                        f"{self.process.text()[-300:]}", Died)
        check(not self.wrong, f"{what}: {self.wrong}")
        check(self.end[1:] == [str(self.count), self.hash.hexdigest()],
              f"{what}: {self.count} lines {self.hash.hexdigest()}, the other "
              f"end says {self.end}")


class Telnet:
    """inetutils' telnet to a real telnetd, printing every few ms."""

    proto = "tcp"

    def __init__(self, client, server, to=None, pace_ms=5, fam=4):
        lab = client.lab
        self.client, self.server = client, server
        to = to or server.address(fam)
        self.server_port = lab.port()
        telnetd, telnet = lab.program("telnetd"), lab.program("telnet")
        with server:
            listener = socket.create_server(
                (to, self.server_port), family=socket.AF_INET6
                if family(to) == 6 else socket.AF_INET)
        with client:
            p = client.spawn(telnet, "-E", to, self.server_port, name="telnet",
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        conn, peer = listener.accept()  # what inetd does
        listener.close()
        self.near_addr, self.far_addr, self.port = peer[0], to, peer[1]
        os.set_inheritable(conn.fileno(), True)
        self.daemon = server.spawn(
            telnetd, "-h", "-E",
            f"{lab.program('traffic')} ticker {pace_ms}", name="telnetd",
            stdin=conn.fileno(), stdout=conn.fileno())
        conn.close()
        self.ticker = Ticker(p)
        self.process = p
        self.goes_on(3)

    def __str__(self):
        return f"telnet {self.client.name}:{self.port}"

    def goes_on(self, lines=30, timeout=None):
        self.ticker.wait(lines, timeout, str(self))
        return self

    def forget_gap(self):
        self.ticker.gap_s = 0.0

    @property
    def gap_ms(self):
        return self.ticker.gap_s * 1000

    def finish(self):
        self.process.popen.stdin.write(b"\r\n")
        self.process.popen.stdin.flush()
        self.ticker.finish(str(self))
        self.process.end()
        h = self.ticker.hash.hexdigest()
        return Result(str(self), self.ticker.count, self.gap_ms, 0,
                      self.ticker.end[2], h, None, None)


class Ssh:
    """OpenSSH with an sshd, keys and configuration of its own: a command
    that prints, and a forwarded port that carries requests."""

    proto = "tcp"

    def __init__(self, client, server, to=None, pace_ms=5, fam=4,
                 forward=True):
        lab = client.lab
        self.client, self.server = client, server
        to = to or server.address(fam)
        self.server_port = lab.port()
        sshd, ssh = lab.program("sshd"), lab.program("ssh")
        base = lab.path(f"ssh{self.server_port}")
        os.makedirs(base, mode=0o700)
        key = self._keys(base)
        with open(base + "/sshd_config", "w") as f:
            f.write(f"""ListenAddress {'[' + to + ']' if ':' in to else to}
Port {self.server_port}
HostKey {base}/host
AuthorizedKeysFile {base}/user.pub
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
PidFile none
""")
        self.sshd = server.spawn(sshd, "-D", "-e", "-f", base + "/sshd_config",
                                 name="sshd")
        wait_until("sshd listens", lambda: "listening" in self.sshd.text(), 5)
        self.forwarded = forward and ForwardedEcho(self, base)
        argv = [ssh, "-F", "none", "-i", key, "-p", self.server_port,
                "-o", f"UserKnownHostsFile={base}/known", "-o",
                "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes",
                "-o", "ServerAliveInterval=0"]
        if forward:
            argv += ["-L", self.forwarded.spec, "-o", "ExitOnForwardFailure=yes"]
        argv += ["root@" + to, f"{lab.program('traffic')} ticker {pace_ms}"]
        self.process = client.spawn(*argv, name="ssh", stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE)
        self.ticker = Ticker(self.process)
        self.ticker.wait(3, 15, str(self))
        self.far_addr = to
        self.near_addr, self.port = self._near()
        if forward:
            self.forwarded.start()

    @staticmethod
    def _keys(base):
        for name in "host", "user":
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            f"{base}/{name}"], check=True)
        return base + "/user"

    def _near(self):
        out = self.client.run("ss", "-Htn", "state", "established", "dport",
                              "=", f":{self.server_port}").stdout_text
        addr, port = out.split()[2].rsplit(":", 1)
        return addr.strip("[]"), int(port)

    def __str__(self):
        return f"ssh {self.client.name} -> {self.server.name}"

    def goes_on(self, lines=30, timeout=None):
        self.ticker.wait(lines, timeout, str(self))
        if self.forwarded:
            self.forwarded.goes_on(lines, timeout)
        return self

    def forget_gap(self):
        self.ticker.gap_s = 0.0
        if self.forwarded:
            self.forwarded.flow.forget_gap()

    @property
    def gap_ms(self):
        return self.ticker.gap_s * 1000

    def finish(self):
        bytes_ = self.ticker.count
        if self.forwarded:
            bytes_ += self.forwarded.finish().bytes
        self.process.popen.stdin.write(b"\n")
        self.process.popen.stdin.close()
        self.ticker.finish(str(self))
        code = self.process.wait(10)
        check(code == 0, f"{self}: exit {code}: {self.process.text()[-300:]}")
        self.sshd.end()
        return Result(str(self), bytes_, self.gap_ms, 0, self.ticker.end[2],
                      self.ticker.hash.hexdigest(), None, None)


class ForwardedEcho:
    """Requests through a port that ssh forwards to the server's loopback."""

    def __init__(self, ssh, base):
        self.ssh = ssh
        lab = ssh.client.lab
        self.near, self.far = lab.port(), lab.port()
        self.spec = f"127.0.0.1:{self.near}:127.0.0.1:{self.far}"
        self.flow = None

    def start(self):
        ssh = self.ssh
        self.flow = Relayed(ssh.client, ssh.server, self.near, self.far)

    def goes_on(self, messages, timeout):
        self.flow.goes_on(messages, timeout)

    def finish(self):
        return self.flow.finish()


class Relayed(Traffic):
    """Traffic whose client speaks to another port than its server has."""

    def __init__(self, client, server, near, far):
        self.near = near
        super().__init__(client, server, "echo", pace_us=5000, to="127.0.0.1",
                         port=far)

    def _start(self, host, argv, name):
        if name.endswith("c"):
            argv = [self.near if a == self.server_port else a for a in argv]
        return super()._start(host, argv, name)


class Pair:
    """One connection between two exact endpoints, both in this process: for
    ports that a moved flow has, or wants, on the wire. served: a traffic
    server listens there already."""

    TIMEOUT_S = 8

    def __init__(self, near, near_addr, near_port, far, far_addr, far_port,
                 served=False):
        fam = socket.AF_INET if family(far_addr) == 4 else socket.AF_INET6
        self.what = (f"{near.name} {near_addr}:{near_port} -> {far.name} "
                     f"{far_addr}:{far_port}")
        listener = None
        if not served:
            listener = far.socket(fam, socket.SOCK_STREAM)
            self._reuse(listener)
            listener.bind((far_addr, far_port))
            listener.listen()
            listener.settimeout(self.TIMEOUT_S)
        self.near = near.socket(fam, socket.SOCK_STREAM)
        self._reuse(self.near)
        self.near.bind((near_addr, near_port))
        self.near.settimeout(self.TIMEOUT_S)
        self.near_addr, self.far_addr = near_addr, far_addr
        self.port, self.server_port = self.near.getsockname()[1], far_port
        self.client, self.server, self.proto = near, far, "tcp"
        self.far = None
        try:
            self.near.connect((far_addr, far_port))
            if served:
                self.near.sendall(b"p" + bytes(31))
            else:
                self.far, _ = listener.accept()
                self.far.settimeout(self.TIMEOUT_S)
        except OSError as e:
            raise Failed(f"connect {self.what}: {e}") from None
        finally:
            if listener:
                listener.close()

    def __str__(self):
        return self.what

    @staticmethod
    def _reuse(s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def goes_on(self):
        """A message there and the same one back."""
        message = os.urandom(64)
        try:
            self.near.sendall(message)
            if self.far:
                self.far.sendall(self._take(self.far))
            got = self._take(self.near)
        except OSError as e:
            raise Died(f"{self.what}: {e}") from None
        check(got == message, f"{self.what}: {len(got)} wrong bytes", Died)
        return self

    @staticmethod
    def _take(s):
        got = b""
        while len(got) < 64:
            part = s.recv(64 - len(got))
            if not part:
                break
            got += part
        return got

    def close(self):
        for s in self.near, self.far:
            if s:
                s.close()


class HalfClosed(Pair):
    """One end has shut its direction down before anybody looked; the other
    sends numbered noise, until it is told to end.

    closer: "near" or "far", which is left in FIN_WAIT2."""

    PACE_S, SIZE = 0.002, 512

    def __init__(self, near, far, closer, fam):
        super().__init__(near, near.address(fam), 0, far, far.address(fam),
                         near.lab.port())
        self.reader, self.writer = self.near, self.far
        if closer == "far":
            self.reader, self.writer = self.far, self.near
        self.what += f", {closer} half-closed"
        self.reader.shutdown(socket.SHUT_WR)
        check(self.writer.recv(1) == b"", f"{self.what}: no end of data")
        self.count, self.end, self.error = 0, threading.Event(), None
        self.sent, self.got = (hashlib.blake2b(digest_size=16)
                               for _ in range(2))
        self.threads = [threading.Thread(target=self._work, args=(f,),
                                         daemon=True)
                        for f in (self._write, self._read)]
        for t in self.threads:
            t.start()

    def _work(self, work):
        try:
            work()
        except OSError as e:
            self.error = self.error or e

    def _write(self):
        while not self.end.wait(self.PACE_S):
            data = os.urandom(self.SIZE)
            self.writer.sendall(data)
            self.sent.update(data)
        self.writer.close()

    def _read(self):
        while True:
            data = self.reader.recv(65536)
            if not data:
                return
            self.got.update(data)
            self.count += len(data)

    def goes_on(self, messages=30, timeout=GOES_ON_S):
        least = self.count + messages * self.SIZE

        def passed():
            if self.error:
                raise Died(f"{self.what}: {self.error}")
            return self.count >= least
        wait_until(f"{self.what} goes on", passed, timeout, 0.005, Died)
        return self

    def finish(self):
        """The writer ends; what was read is what was written, to the end."""
        self.end.set()
        for t in self.threads:
            t.join(patient(FINISH_S))
        check(not self.error and not any(t.is_alive() for t in self.threads),
              f"{self.what}: {self.error or 'it does not end'}", Died)
        self.reader.close()
        check(self.sent.digest() == self.got.digest(),
              f"{self.what}: {self.count} bytes came, not those sent", Died)


class Datagrams:
    """Two connected UDP sockets in this process, for any size."""

    def __init__(self, near, near_addr, far, far_addr):
        fam = socket.AF_INET if family(far_addr) == 4 else socket.AF_INET6
        self.near, self.far = (h.socket(fam, socket.SOCK_DGRAM)
                               for h in (near, far))
        for s, addr in (self.near, near_addr), (self.far, far_addr):
            s.setsockopt(socket.SOL_SOCKET, 33, 1 << 20)  # RCVBUFFORCE
            s.bind((addr, 0))
            s.settimeout(1)
        self.near.connect(self.far.getsockname())
        self.far.connect(self.near.getsockname())
        self.client, self.server, self.proto = near, far, "udp"
        self.near_addr, self.port = self.near.getsockname()[:2]
        self.far_addr, self.server_port = self.far.getsockname()[:2]

    def __str__(self):
        return f"udp {self.client.name}:{self.port}"

    def exchange(self, size):
        """One there, the same one back; false where it did not come."""
        message = os.urandom(size)
        try:
            self.near.send(message)
            self.far.send(self.far.recv(65536))
            return self.near.recv(65536) == message
        except TimeoutError:
            return False
        except OSError as e:
            raise Died(f"{self}: {e}") from None
