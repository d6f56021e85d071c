# SPDX-License-Identifier: GPL-2.0-or-later
"""ufw: incoming traffic is denied but for what the administrator allows"""
RULES = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:before-input - [0:0]
:not-local - [0:0]
:user-input - [0:0]
-A INPUT -j before-input
-A INPUT -j user-input
-A before-input -i lo -j ACCEPT
-A before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A before-input -m conntrack --ctstate INVALID -j DROP
-A before-input -p ICMP -j ACCEPT
-A before-input -j not-local
-A not-local -m addrtype --dst-type LOCAL -j RETURN
-A not-local -m addrtype --dst-type MULTICAST -j RETURN
-A not-local -m addrtype --dst-type BROADCAST -j RETURN
-A not-local -j DROP
-A user-input -p tcp --dport 7000:7999 -j ACCEPT
-A user-input -p udp --dport 7000:7999 -j ACCEPT
-A user-input -p udp --dport 1021 -j ACCEPT
COMMIT
"""


def setup(p):
    p.iptables(RULES.replace("ICMP", "icmp"), (4,))
    p.iptables(RULES.replace("ICMP", "ipv6-icmp").replace(
        "-A not-local -m addrtype --dst-type BROADCAST -j RETURN\n", ""), (6,))
