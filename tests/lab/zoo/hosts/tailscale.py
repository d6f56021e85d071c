# SPDX-License-Identifier: GPL-2.0-or-later
"""tailscale: marks in the third byte, a table of its own and rules from 5210
on; a tun that carries its own subnet only"""
import tunnel

RULES = """*filter
:ts-input - [0:0]
:ts-forward - [0:0]
-A INPUT -j ts-input
-A FORWARD -j ts-forward
-A ts-input -s NETWORK ! -i tailscale0 -j DROP
-A ts-input -i tailscale0 -j ACCEPT
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
-A ts-forward -o tailscale0 -j ACCEPT
COMMIT
*nat
:ts-postrouting - [0:0]
-A POSTROUTING -j ts-postrouting
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
COMMIT
*mangle
-A PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j CONNMARK --restore-mark --nfmask 0xff0000 --ctmask 0xff0000
-A OUTPUT -m conntrack --ctstate NEW -m mark ! --mark 0x0/0xff0000 -j CONNMARK --save-mark --nfmask 0xff0000 --ctmask 0xff0000
COMMIT
"""


def reload(p):
    p.iptables(RULES.replace("NETWORK", "100.64.0.0/10"), (4,))
    p.iptables(RULES.replace("NETWORK", "fd7a::/48"), (6,))


def setup(p):
    reload(p)
    p.tailscale = tunnel.tun(p.host, "tailscale0")
    p.ip_do(f"address add 100.64.0.{p.number}/32 dev tailscale0",
            f"address add fd7a::{p.number}/128 dev tailscale0 nodad",
            "link set tailscale0 up mtu 1280",
            "route add 100.64.0.0/10 dev tailscale0 table 52",
            "route add fd7a::/48 dev tailscale0 table 52")
    p.rules("rule add pref 5210 fwmark 0x80000/0xff0000 table main",
            "rule add pref 5230 fwmark 0x80000/0xff0000 table default",
            "rule add pref 5250 fwmark 0x80000/0xff0000 type unreachable",
            "rule add pref 5270 table 52")
