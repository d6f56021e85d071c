/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ipsec: would a policy of this host's IPsec take a flow's packets?
 *
 * A policy knows addresses. What is sent from or to another address after a
 * move it does not know, and that would go in clear, and past a VPN that has no
 * interface of its own.
 *
 * Owns the question to the kernel (XFRM). Never changes a policy, never keeps
 * one. Those of interfaces (if_id) do not count: the route leads into these.
 */
#ifndef SACIPED_IPSEC_H
#define SACIPED_IPSEC_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

struct ipsec;

/* Also where the kernel has no IPsec: then none is taken. 0 or -errno. */
int ipsec_open(struct ipsec **out);
void ipsec_close(struct ipsec *ip); /* NULL is fine */

/* What the socket of `t` with this mark sends out of the interface `oif`. Where
 * the kernel does not tell its policies, yes. */
bool ipsec_takes(struct ipsec *ip, const struct tuple *t, uint32_t mark,
		 uint32_t oif);

#endif
