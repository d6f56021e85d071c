# SPDX-License-Identifier: GPL-2.0-or-later
"""docker: a bridge with masquerade, published ports and FORWARD dropped"""
RULES = """*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER -d INSIDE ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s NETWORK ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination TO
COMMIT
"""


def setup(p):
    p.run("ip", "link", "add", "docker0", "type", "bridge", check=False)
    p.ip_do("address replace 172.17.0.1/16 dev docker0",
            "address replace fd17::1/64 dev docker0 nodad",
            "link set docker0 up")
    p.sysctl("net.ipv4.ip_forward", 1)
    for fam, net, inside, to in (
            (4, "172.17.0.0/16", "172.17.0.2/32", "172.17.0.2:80"),
            (6, "fd17::/64", "fd17::2/128", "[fd17::2]:80")):
        p.iptables(RULES.replace("NETWORK", net).replace("INSIDE", inside)
                   .replace("TO\n", to + "\n"), (fam,))
