/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of track share; nobody else includes it.
 */
#ifndef SACIPED_TRACK_IMPL_H
#define SACIPED_TRACK_IMPL_H

#include "daemon.h"

/* The interface on which packets of this locator come in, for rp_filter; 0
 * where there is none. */
uint32_t track_ifindex(struct track *t, const struct addr *addr);
/* Keeps the way back over it, for as long as the flow accepts that end; the
 * one that was told last is preferred. */
void track_reverse(struct track *t, struct flow *f, const struct locator *at,
		   uint32_t ifindex);
/* Neither half holds it any more: what it held goes. */
void track_let_flow_go(struct daemon *d, struct flow *f);
/* Where all other ends are over by now: it needs no way back any more. */
void track_at_home(struct daemon *d, struct flow *f);

#endif
