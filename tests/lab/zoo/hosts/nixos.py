# SPDX-License-Identifier: GPL-2.0-or-later
"""nixos: its firewall with checkReversePath as it is by default, strict, for
both families"""
RULES = """*mangle
:nixos-fw-rpfilter - [0:0]
-A PREROUTING -j nixos-fw-rpfilter
-A nixos-fw-rpfilter -m rpfilter --validmark -j RETURN
DHCP
-A nixos-fw-rpfilter -j DROP
COMMIT
*filter
:nixos-fw - [0:0]
:nixos-fw-refuse - [0:0]
-A INPUT -j nixos-fw
-A nixos-fw -i lo -j ACCEPT
-A nixos-fw -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A nixos-fw -p tcp --dport 7000:7999 -j ACCEPT
-A nixos-fw -p udp --dport 7000:7999 -j ACCEPT
-A nixos-fw -p udp --dport 1021 -j ACCEPT
-A nixos-fw -p ICMP -j ACCEPT
-A nixos-fw -j nixos-fw-refuse
-A nixos-fw-refuse -j DROP
COMMIT
"""
DHCP = """\
-A nixos-fw-rpfilter -p udp --sport 67 --dport 68 -j RETURN
-A nixos-fw-rpfilter -s 0.0.0.0 -d 255.255.255.255 -p udp --sport 68 --dport 67 -j RETURN
"""


def setup(p):
    p.iptables(RULES.replace("DHCP\n", DHCP).replace("ICMP", "icmp"), (4,))
    p.iptables(RULES.replace("DHCP\n", "").replace("ICMP", "ipv6-icmp"), (6,))
