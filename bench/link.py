# SPDX-License-Identifier: GPL-2.0-or-later
"""link: the two hosts and the one cable on which everything is measured.

    mover eth0 10.9.0.1 ======== one cable ======== eth0 10.9.0.2 peer

Owns the hosts, the mover's address and the programs between which is
measured, and counts the processor time that all of it takes. What is
compared comes and goes on this same cable; never knows what that is.
"""
import contextlib
import json
import mmap
import os
import re
import select
import struct
import subprocess
import time

from lab import check

FIRST, PEER = "10.9.0.1", "10.9.0.2"
OTHERS = [f"10.9.0.{n}" for n in range(11, 251)]  # for the mover, in turn
PREFIX = "/24"
DEV = "eth0"
HZ = os.sysconf("SC_CLK_TCK")


class Processor:
    """CPU time of what is measured: of all processes of the benchmark's own
    world, and of ksoftirqd, which does the network's work when there is much
    of it; work in soft interrupts counts for the process that it interrupts.
    /proc/stat would count what others do on the machine, too. Made before
    isolate(): that hides the machine's own processes."""

    def __init__(self):
        self.outer = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        self.softirq = [p for p in os.listdir(self.outer) if p.isdigit() and
                        self._name(p).startswith("ksoftirqd/")]

    def _name(self, pid):
        with contextlib.suppress(OSError):
            return self._read(f"{pid}/comm")
        return ""

    def _read(self, path):
        fd = os.open(path, os.O_RDONLY, dir_fd=self.outer)
        with os.fdopen(fd) as f:
            return f.read()

    @staticmethod
    def _ticks(stat):
        fields = stat.rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def ours(self):
        """Ticks so far, by process."""
        ticks = {}
        for p in self.softirq:
            ticks["k" + p] = self._ticks(self._read(f"{p}/stat"))
        for p in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{p}/stat") as f:
                ticks[p] = self._ticks(f.read())
        return ticks

    @staticmethod
    def between_s(before, after):
        return sum(n - before.get(p, 0) for p, n in after.items()) / HZ

    def machine_s(self):
        """The whole machine's: user, nice, system, irq, softirq."""
        v = [int(x) for x in self._read("stat").split("\n")[0].split()[1:]]
        return (v[0] + v[1] + v[2] + v[5] + v[6]) / HZ


def cpus():
    """What starts a program at the mover, and one at the peer: on a CPU each,
    as on two machines. Where the scheduler puts both on one, or does not,
    figures differ by a factor of two and say nothing of what is compared."""
    some = sorted(os.sched_getaffinity(0))
    return [("taskset", "-c", str(n)) for n in (some[0], some[-1])]


class Client:
    """A probe at the mover and its server at the peer; to the lab a flow."""

    proto, many = "tcp", 1
    LINE_S = 10

    def __init__(self, link, kind, to, via=()):
        lab = self.lab = link.lab
        self.client, self.server = link.mover, link.peer
        self.far_addr, self.server_port = to, lab.port()
        self.near_addr = self.port = None
        program = lab.program("probe")
        near, far = cpus()
        self.counter = lab.path(f"probe{self.server_port}")
        self.pending = b""
        self.processes = []
        self._start(self.server, [*far, *via, program, "serve", to,
                                  self.server_port, self.counter])
        self.line()
        self._start(self.client, [*near, *via, program, kind, to,
                                  self.server_port])
        ready = self.line()
        self.port, self.near_addr = ready["ready"], ready["addr"]
        with open(self.counter, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 8, prot=mmap.PROT_READ)

    def __str__(self):
        return f"probe {self.near_addr}:{self.port}"

    def _start(self, host, argv):
        self.process = host.spawn(*argv, name="probe", stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        self.processes.append(self.process)

    def line(self, timeout=LINE_S):
        """The next line of the program started last, as JSON."""
        end = time.monotonic() + timeout
        fd = self.process.popen.stdout.fileno()
        while b"\n" not in self.pending:
            left = max(0, end - time.monotonic())
            check(select.select([fd], [], [], left)[0],
                  f"{self.process.argv}: silent for {timeout} s")
            data = os.read(fd, 4096)
            check(data, f"{self.process.argv} ended")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        found = json.loads(line)
        check("error" not in found, f"{self}: {found.get('error')}")
        return found

    def tell(self, text):
        self.process.popen.stdin.write(f"{text}\n".encode())
        self.process.popen.stdin.flush()

    def measure(self, seconds):
        self.tell(seconds)
        return self.line(seconds + self.LINE_S)

    def received(self):
        return struct.unpack("Q", self.map)[0]

    def end(self):
        for p in reversed(self.processes):
            p.end()


class Link:
    def __init__(self, lab, processor):
        self.lab, self.processor = lab, processor
        self.mover, self.peer = lab.build(f"""
            mover {DEV} {FIRST}{PREFIX} =cable
            peer  {DEV} {PEER}{PREFIX} =cable
        """)
        for host in self.mover, self.peer:
            # nothing that one measurement leaves shall help the next one
            host.sysctl("net.ipv4.tcp_no_metrics_save", 1)
            host.sysctl("net.ipv4.ip_local_port_range", "10000 65000")
        self.here, self.turn = FIRST, 0

    def __str__(self):
        return f"{self.mover.name} at {self.here}"

    def next_address(self):
        self.turn = (self.turn + 1) % len(OTHERS)
        return OTHERS[self.turn]

    def add(self, addr):
        """When the mover had it, CLOCK_REALTIME in ns."""
        return self.mover.add_now(DEV, addr + PREFIX)[0]

    def drop(self, addr):
        """When it was gone."""
        return self.mover.delete_now(DEV, addr + PREFIX)[1]

    def reset(self):
        """The address of the beginning, for whoever comes next."""
        shown = self.mover.run("ip", "-4", "-o", "address", "show", "dev",
                               DEV).stdout_text
        now = re.findall(r"inet (\S+)/", shown)
        if FIRST not in now:
            self.add(FIRST)
        for addr in now:
            if addr != FIRST:
                self.drop(addr)
        self.here = FIRST

    def rate(self, client, seconds):
        """What a client that pours gets through, and what that costs."""
        cpu = self.processor

        def now():
            return (time.monotonic(), client.received(), cpu.machine_s(),
                    cpu.ours())
        before = now()
        time.sleep(seconds)
        after = now()
        took, got, machine = (b - a for a, b in zip(before, after[:3]))
        check(got, "nothing came through")
        return {"gbit_s": got * 8 / took / 1e9,
                "cpu_s_per_gb": cpu.between_s(before[3], after[3]) * 1e9 / got,
                "machine_cpu_s_per_gb": machine * 1e9 / got}
