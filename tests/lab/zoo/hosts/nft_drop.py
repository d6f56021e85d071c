# SPDX-License-Identifier: GPL-2.0-or-later
"""nft_drop: /etc/nftables.conf with policy drop both ways; loading it flushes
everything first"""
RULES = """
flush ruleset
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state invalid drop
		ct state { established, related } accept
		iif lo accept
		meta l4proto { icmp, ipv6-icmp } accept
		tcp dport { 22, 7000-7999 } ct state new accept
		udp dport { 1021, 7000-7999 } accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
	chain output {
		type filter hook output priority filter; policy drop;
		ct state invalid drop
		ct state { established, related, new } accept
		meta l4proto ipv6-icmp accept
	}
}
"""


def setup(p):
    p.nft(RULES)
