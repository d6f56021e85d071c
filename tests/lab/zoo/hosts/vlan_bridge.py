# SPDX-License-Identifier: GPL-2.0-or-later
"""vlan_bridge: the uplink is a port of a bridge, the addresses are on a VLAN
of that bridge, or on the bridge itself where the kernel has no VLANs"""
from network import BOTH

VLAN = 10


def setup(p):
    port = p.ports["home"]
    p.ip_do("link add br0 type bridge forward_delay 0",
            f"address flush dev {p.uplink}",
            f"link set {p.uplink} master br0", "link set br0 up")
    if p.run("ip", "link", "add", "link", "br0", "name", f"br0.{VLAN}",
             "type", "vlan", "id", VLAN, check=False).returncode:
        # A bridge filters by VLAN only where the kernel has 802.1Q.
        p.form = ("without 802.1Q, which this kernel does not have, in its "
                  "bridges neither: no frame bears a tag")
        p.uplink = "br0"
        p.add()
        p.default()
        return
    p.ip_do(f"link set br0.{VLAN} up")
    p.router.ip(f"link add link {port} name {port}.{VLAN} type vlan id {VLAN}",
                f"address flush dev {port}",
                f"link set {port}.{VLAN} up",
                *(f"address add {n.cidr(s, 1)} dev {port}.{VLAN} "
                  + ("nodad" if n.fam == 6 else "")
                  for n in BOTH for s in p.subnets.values()
                  if s != p.subnets["spare"]))
    p.uplink = f"br0.{VLAN}"
    p.add()
    p.default()
