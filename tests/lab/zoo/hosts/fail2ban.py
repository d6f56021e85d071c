# SPDX-License-Identifier: GPL-2.0-or-later
"""fail2ban: sets of banned addresses, filled while all goes on"""
RULES = """
table inet f2b-table
delete table inet f2b-table
table inet f2b-table {
	set addr4 {
		type ipv4_addr
		elements = { 192.0.2.1, 192.0.2.77, 198.51.100.3 }
	}
	set addr6 {
		type ipv6_addr
		elements = { 2001:db8::1, 2001:db8::77 }
	}
	chain f2b-chain {
		type filter hook input priority filter - 1; policy accept;
		tcp dport { 22, 7000-7999 } ip saddr @addr4 reject with icmp port-unreachable
		tcp dport { 22, 7000-7999 } ip6 saddr @addr6 reject with icmpv6 port-unreachable
	}
}
"""


def setup(p):
    p.nft(RULES)
