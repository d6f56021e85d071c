# SPDX-License-Identifier: GPL-2.0-or-later
"""fail2ban: sets of banned addresses; every 200 ms one is banned and the
oldest one pardoned"""
import itertools

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
BANNED = 8
PAUSE_S = 0.2


def reload(p):
    p.nft(RULES)


def setup(p):
    reload(p)
    p.meanwhile(ban(p))


def ban(p):
    """One transaction each. A table that was loaded anew has none of them:
    who is pardoned is banned first."""
    for turn in itertools.count(BANNED):
        lines = []
        for name, net in ("addr4", "203.0.113."), ("addr6", "2001:db8:1::"):
            lines += [f"{verb} element inet f2b-table {name} "
                      f"{{ {net}{n % 250 + 1} }}" for verb, n in (
                          ("add", turn - BANNED), ("delete", turn - BANNED),
                          ("add", turn))]
        p.nft("\n".join(lines) + "\n")
        yield PAUSE_S
