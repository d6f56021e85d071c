# SPDX-License-Identifier: GPL-2.0-or-later
"""others: what people keep connections alive with today.

MPTCP of the kernel, wireguard-go, OpenVPN with `float` and strongSwan with
MOBIKE, each as Debian packages it and as its own documentation sets it up for
a host that changes its address. Owns their processes and settings on the
link. Never measures.
"""
import contextlib
import os
import time

import packages
from cases import Case, Unable
from lab import Failed, wait_until

READY_S = 10


class Other(Case):
    needs = ()  # Debian packages
    lacking = ""  # why it cannot run

    @classmethod
    def obtain(cls, cache):
        """Before anything is isolated: there is no network in there."""
        cls.lacking = packages.install(cls.needs)

    def start(self):
        if self.lacking:
            raise Unable(self.lacking)
        self.hosts = (self.link.mover, self.link.peer)
        for host in self.hosts:
            # a new tunnel's router solicitations would tell the peer of a
            # move; one that has been up for long sends none
            host.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
        try:
            self.set_up()
        except Failed as e:
            raise Unable(str(e)) from None

    def stop(self):
        for p in reversed(self.running):
            p.end()
        for host in self.hosts if hasattr(self, "hosts") else ():
            host.sysctl("net.ipv6.conf.default.disable_ipv6", 0)

    def spawn(self, host, *argv, **kw):
        p = host.spawn(*argv, name=self.name, **kw)
        self.running.append(p)
        return p

    REST_S = 0.3  # nothing tells that they are through with it

    def rest(self, flow):
        time.sleep(self.REST_S)

    def file(self, name, text=""):
        path = self.lab.path(f"{self.name}.{name}")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                  "w") as f:
            f.write(text)
        return path

    def answers(self):
        """Waits for the target's first answer."""
        def ready():
            dead = [p for p in self.running if not p.alive()]
            if dead:
                raise Unable(f"{dead[0].argv[0]} ended: "
                             f"{dead[0].text().strip()[-200:]}")
            return not self.link.mover.run("ping", "-c1", "-W1", "-q",
                                           self.target, check=False).returncode
        wait_until(f"{self.name} answers", ready, READY_S, 0.1)


class Mptcp(Other):
    """Programs started by mptcpize; what a script of the network manager's
    does at each change: `ip mptcp endpoint`."""

    name, title = "mptcp", "MPTCP"
    needs = ("mptcpize", "iputils-ping")
    via = ("mptcpize", "run")

    def set_up(self):
        self.ids = {}
        for host in self.hosts:
            try:
                host.sysctl("net.mptcp.enabled", 1)
            except OSError:
                raise Unable("this kernel has no MPTCP") from None
            host.run("ip", "mptcp", "limits", "set", "subflows", 8,
                     "add_addr_accepted", 8)
        self.answers()

    def stop(self):
        for host in getattr(self, "hosts", ()):
            host.run("ip", "mptcp", "endpoint", "flush", check=False)
        super().stop()

    def protect(self, flow):
        if not self.link.mover.run("ss", "-HMn").stdout_text:
            raise Unable("the connection is plain TCP")

    def added(self, addr):
        used = set(self.ids.values())
        free = next(n for n in range(1, 9) if n not in used)
        self.link.mover.run("ip", "mptcp", "endpoint", "add", addr, "dev",
                            "eth0", "id", free, "subflow")
        self.ids[addr] = free

    def leaving(self, addr):
        # a connection's first address is number 0 unless it is an endpoint
        which = [self.ids.pop(addr)] if addr in self.ids else [0, addr]
        self.link.mover.run("ip", "mptcp", "endpoint", "delete", "id", *which,
                            check=False)


class MptcpNoDelay(Mptcp):
    """MPTCP sends larger pieces where a program asks for no delay."""

    name, title = "mptcp-nodelay", "MPTCP, TCP_NODELAY"
    via = (*Mptcp.via, "env", "PROBE_NODELAY=1")


class WireGuard(Other):
    name, title = "wireguard", "wireguard-go"
    needs = ("wireguard-tools", "iputils-ping")
    target = "10.99.0.2"
    addresses = "10.99.0.1", target
    PORT, MTU = 51820, 1420
    program = None

    @classmethod
    def obtain(cls, cache):
        super().obtain(cache)
        cls.program, version, error = packages.wireguard_go(cache)
        if error:
            cls.lacking = f"no current wireguard-go: {error}"
        else:
            cls.title = f"wireguard-go {version.split('-')[0]}"

    def set_up(self):
        keys = []
        for host in self.hosts:
            secret = host.run("wg", "genkey").stdout_text
            keys.append((self.file(host.name + ".key", secret),
                         host.run("wg", "pubkey",
                                  input=secret).stdout_text.strip()))
            self.spawn(host, self.program, self.device(host),
                       env={"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"})
        for host in self.hosts:
            wait_until("wireguard-go listens", lambda host=host: not host.run(
                "wg", "show", self.device(host), check=False).returncode, 5)
        ways = [("endpoint", f"{self.link.peer.address()}:{self.PORT}"), ()]
        for n, host in enumerate(self.hosts):
            host.run("wg", "set", self.device(host), "listen-port", self.PORT,
                     "private-key", keys[n][0], "peer", keys[1 - n][1],
                     "allowed-ips", self.addresses[1 - n] + "/32", *ways[n])
            host.ip(f"link set {self.device(host)} mtu {self.MTU} up",
                    f"address add {self.addresses[n]}/24 "
                    f"dev {self.device(host)}")
        self.answers()

    @staticmethod
    def device(host):
        return "wg" + host.name


class OpenVpn(Other):
    name, title = "openvpn", "OpenVPN"
    needs = ("openvpn", "openssl", "iputils-ping")
    target = "10.98.0.1"
    BOTH = """
dev {dev}
dev-type tun
cert {cert}
key {key}
peer-fingerprint {other}
data-ciphers AES-256-GCM
persist-tun
verb 3
"""
    SERVER = """
proto udp4
mode server
tls-server
topology subnet
ifconfig 10.98.0.1 255.255.255.0
ifconfig-pool 10.98.0.2 10.98.0.20
push "topology subnet"
keepalive 10 60
float
dh none
"""
    CLIENT = """
client
proto udp4
remote {peer}
nobind
float
"""

    def set_up(self):
        certs = [self._certificate(h) for h in self.hosts]
        for n, (host, text) in reversed(list(enumerate(
                zip(self.hosts, (self.CLIENT, self.SERVER))))):
            conf = self.file(host.name + ".conf", (text + self.BOTH).format(
                dev="ov" + host.name, cert=certs[n][0], key=certs[n][1],
                other=certs[1 - n][2], peer=self.link.peer.address()))
            self.spawn(host, "openvpn", "--config", conf)
        self.answers()

    def _certificate(self, host):
        cert, key = self.file(host.name + ".crt"), self.file(host.name + ".key")
        host.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2, "-subj",
                 "/CN=" + host.name, "-out", cert, "-keyout", key)
        said = host.run("openssl", "x509", "-noout", "-fingerprint", "-sha256",
                        "-in", cert).stdout_text
        return cert, key, said.strip().split("=")[1]


class StrongSwan(Other):
    """IKEv2 with MOBIKE; ESP in user space (kernel-libipsec), because it is
    the form that runs on every kernel, with or without XFRM."""

    name, title = "strongswan", "strongSwan"
    needs = ("strongswan-charon", "strongswan-swanctl", "iputils-ping",
             "libcharon-extra-plugins", "libstrongswan-standard-plugins")
    target = "10.97.0.2"
    addresses = "10.97.0.1", target
    CHARON = "/usr/lib/ipsec/charon"
    REST_S = 1.0  # MOBIKE's exchanges; in the midst of one it loses its way
    PLUGINS = ("random nonce aes sha1 sha2 hmac kdf openssl gcm socket-default "
               "kernel-libipsec kernel-netlink vici")
    DAEMON = """
charon {{
  load = {plugins}
  install_routes = yes
  retransmit_timeout = 1.0
  retransmit_tries = 8
  filelog {{ f {{ path = {log}
    flush_line = yes }} }}
  plugins {{ vici {{ socket = unix://{vici} }} }}
}}
"""
    CONNECTION = """
connections {{ bench {{
    version = 2
    mobike = yes
    encap = yes
    {remote}
    local {{ auth = psk
      id = {me} }}
    remote {{ auth = psk
      id = {other} }}
    children {{ bench {{
        local_ts = {here}/32
        remote_ts = {there}/32
        esp_proposals = aes128gcm16 }} }}
}} }}
secrets {{ ike-1 {{
    id-a = mover
    id-b = peer
    secret = for-a-benchmark-only }} }}
"""

    def set_up(self):
        vici = [self.lab.path(f"{self.name}.{h.name}.vici") for h in self.hosts]
        remote = [f"remote_addrs = {self.link.peer.address()}", ""]
        for n, host in enumerate(self.hosts):
            host.ip(f"address add {self.addresses[n]}/32 dev lo")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(vici[n])  # of an earlier round
            conf = self.file(host.name + ".conf", self.DAEMON.format(
                plugins=self.PLUGINS, vici=vici[n],
                log=self.file(host.name + ".charon")))
            # the PID file has a fixed name: a /run of its own for each
            self.spawn(host, "unshare", "--mount", "--propagation", "private",
                       "sh", "-c", f"mount -t tmpfs none /run; "
                       f"exec {self.CHARON}", env={"STRONGSWAN_CONF": conf})
            wait_until("charon listens", lambda n=n: os.path.exists(vici[n]),
                       5)
            rules = self.file(host.name + ".swanctl", self.CONNECTION.format(
                remote=remote[n], me=host.name, other=self.hosts[1 - n].name,
                here=self.addresses[n], there=self.addresses[1 - n]))
            self.control(host, vici[n], "--load-all", "--file", rules)
        self.control(self.hosts[0], vici[0], "--initiate", "--child", "bench")
        self.answers()

    def control(self, host, vici, *what):
        # it says much of plugins that it could not load, and that is fine
        p = host.run("swanctl", *what, "--uri", "unix://" + vici, check=False)
        if p.returncode:
            said = [x for x in (p.stderr_text + p.stdout_text).splitlines()
                    if "fail" in x or "error" in x]
            raise Unable("swanctl: " + "; ".join(said[-2:]))

    def stop(self):
        super().stop()
        for n, host in enumerate(getattr(self, "hosts", ())):
            host.run("ip", "address", "del", f"{self.addresses[n]}/32", "dev",
                     "lo", check=False)


OTHERS = [Mptcp, WireGuard, OpenVpn, StrongSwan]
