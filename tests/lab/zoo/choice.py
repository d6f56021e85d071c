# SPDX-License-Identifier: GPL-2.0-or-later
"""choice: which cells there are, and which of them every check runs.

Deterministic: the same hosts and events give the same cells. Never runs one.
"""
import collections

Cell = collections.namedtuple("Cell", "host event peer")

# What tells a host from a bare one. One that is new goes into one of these.
KINDS = {
    "what filters and translates":
    ("ufw", "firewalld", "nft_drop", "docker", "kube_proxy", "nixos",
     "fail2ban"),
    "what marks, and chooses routes":
    ("tailscale", "wg_quick", "connmark", "source_rules", "ecmp",
     "bgp_flaps"),
    "what addresses and links are like":
    ("bare", "keepalived", "service_lo", "strict_rp", "arp_settings",
     "vlan_bridge")}
HOSTS = [h for kind in KINDS.values() for h in kind]


def every(events):
    """Each host with each event and a bare peer, and each host as the peer
    of a bare one with each event."""
    found = [Cell(h, e, "bare") for h in HOSTS for e in events]
    return found + [Cell("bare", e, h) for h in HOSTS for e in events
                    if h != "bare"]


def few(events):
    """All pairs of a host's kind, an event and the peer's kind: a Latin
    square, in which each host is at either end at least once."""
    found, kinds = [], list(KINDS.values())
    for i, event in enumerate(events):
        for a, kind in enumerate(kinds):
            far = kinds[(a + i) % len(kinds)]
            found.append(Cell(kind[i % len(kind)], event,
                              far[(i + 2) % len(far)]))
    return found
