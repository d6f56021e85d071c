# SPDX-License-Identifier: GPL-2.0-or-later
"""kube_proxy: service addresses by DNAT, marks for masquerade and for drop"""
RULES = """*filter
:FORWARD ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SVC - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SEP-B - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -d CLUSTER -p tcp --dport 443 -j KUBE-SVC
-A KUBE-SVC -j KUBE-MARK-MASQ
-A KUBE-SVC -m statistic --mode random --probability 0.5 -j KUBE-SEP-A
-A KUBE-SVC -j KUBE-SEP-B
-A KUBE-SEP-A -p tcp -j DNAT --to-destination POD_A
-A KUBE-SEP-B -p tcp -j DNAT --to-destination POD_B
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
"""


def setup(p):
    for fam, to in (
            (4, ("10.96.0.1/32", "10.244.0.2:443", "10.244.0.3:443")),
            (6, ("fd96::1/128", "[fd44::2]:443", "[fd44::3]:443"))):
        text = RULES
        for name, value in zip(("CLUSTER", "POD_A", "POD_B"), to):
            text = text.replace(name, value)
        p.iptables(text, (fam,))
    p.sysctl("net.ipv4.conf.all.route_localnet", 1)
