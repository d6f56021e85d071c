# SPDX-License-Identifier: GPL-2.0-or-later
"""packages: what the benchmark runs beside saciped, from Debian.

Owns the installation of missing packages and one unpacked program: a current
wireguard-go. Starts no service, leaves the machine's package sources as they
are. What could not be had is told to whoever needs it, as text.
"""
import os
import shutil
import subprocess
import tempfile

POLICY = "/usr/sbin/policy-rc.d"
NEWER = "sid"  # where a current wireguard-go is; the stable one is of 2022
ENV = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")


def _run(*argv, timeout=300, **kw):
    """The end of what it said where it failed, "" where it did not."""
    try:
        p = subprocess.run(argv, env=ENV, text=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=timeout, **kw)
    except FileNotFoundError:
        return f"no {argv[0]} here"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took over {timeout} s"
    last = p.stdout.strip().splitlines()[-1:] or [f"exit {p.returncode}"]
    return last[0] if p.returncode else ""


def _installed(name):
    p = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status}", name],
                       capture_output=True, text=True)
    return p.stdout == "installed"


def install(names):
    """Installs those that are missing; why that failed, or ""."""
    if not shutil.which("dpkg-query"):
        return "not a Debian: install it by hand"
    missing = [n for n in names if not _installed(n)]
    if not missing:
        return ""
    print(f"bench: installing {' '.join(missing)}", flush=True)
    # a service must not start here because someone wants to measure it
    mine = not os.path.exists(POLICY)
    if mine:
        with open(POLICY, "w") as f:
            f.write("#!/bin/sh\nexit 101\n")
        os.chmod(POLICY, 0o755)
    get = ["apt-get", "install", "-y", "-q", "--no-install-recommends",
           "-o", "DPkg::Lock::Timeout=60", *missing]
    try:
        return _run(*get) and (_run("apt-get", "update", "-q") or _run(*get))
    finally:
        if mine:
            os.unlink(POLICY)


def wireguard_go(cache):
    """(path, version, "") of a current wireguard-go, kept in `cache`; where
    that cannot be had (None, None, why)."""
    program = os.path.join(cache, "wireguard-go")
    note = program + ".version"
    if not os.path.exists(program):
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="sacipbench.") as work:
            error = _fetch(work, program, note)
        if error:
            return None, None, error
    with open(note) as f:
        return program, f.read().strip(), ""


def _mirror():
    """Where this machine's own Debian packages come from."""
    p = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)"],
                       capture_output=True, text=True)
    for site in p.stdout.split():
        if site.rstrip("/").endswith("/debian"):
            return site
    return "http://deb.debian.org/debian"


def _fetch(work, program, note):
    for d in "lists/partial", "cache/archives/partial", "deb":
        os.makedirs(os.path.join(work, d))
    with open(work + "/sources.list", "w") as f:
        f.write("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
                f" {_mirror()} {NEWER} main\n")
    apart = []
    for key, value in (("Etc::sourcelist", work + "/sources.list"),
                       ("Etc::sourceparts", "/dev/null"),
                       ("State::lists", work + "/lists"),
                       ("Cache", work + "/cache"),
                       ("State::status", "/dev/null")):
        apart += ["-o", f"Dir::{key}={value}"]
    apart += ["-o", "APT::Sandbox::User=root"]
    print(f"bench: fetching wireguard-go of Debian {NEWER}", flush=True)
    error = (_run("apt-get", "-q", *apart, "update") or
             _run("apt-get", "-q", *apart, "download", "wireguard-go",
                  cwd=work + "/deb"))
    if error:
        return error
    name = os.listdir(work + "/deb")[0]  # wireguard-go_VERSION_ARCH.deb
    error = _run("dpkg-deb", "-x", f"{work}/deb/{name}", work + "/tree")
    if error:
        return error
    with open(note, "w") as f:
        f.write(name.split("_")[1] + "\n")
    shutil.copy(work + "/tree/usr/bin/wireguard-go", program)
    return ""
