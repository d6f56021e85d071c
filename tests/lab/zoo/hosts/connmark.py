# SPDX-License-Identifier: GPL-2.0-or-later
"""connmark: every packet gets the mark of its connection, by nft and by
iptables, as clouds and load balancers do"""
RULES = """
table inet connmark
delete table inet connmark
table inet connmark {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta mark set ct mark
	}
	chain output {
		type route hook output priority mangle; policy accept;
		ct state new ct mark set meta mark
	}
}
"""
LATER = """*mangle
-A PREROUTING -j CONNMARK --restore-mark
COMMIT
"""


def setup(p):
    p.nft(RULES)
    p.iptables(LATER)
