/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live: `sacipctl top`, on a terminal or once.
 *
 * Owns the interval, the terminal and its restoration. What is shown is
 * top's. Asks the daemon for no more than one `list` per interval.
 */
#ifndef SACIPED_LIVE_H
#define SACIPED_LIVE_H

#include "call.h"

#include <stdio.h>

#define LIVE_INTERVAL_MS 1000
#define LIVE_INTERVAL_MIN_MS 250 /* saciped's counts may be 200 ms old */
#define LIVE_INTERVAL_MAX_MS 3600000

struct live_options {
	uint32_t interval_ms;
	bool json;
	bool colour;
};

/* Two samples, one interval apart, and one table. Both return an exit code;
 * what they leave in c->error is for the caller to print. */
int live_once(struct call *c, const struct live_options *o, FILE *out);
/* Until q or a signal: CTL_DONE after SIGINT, 128 and its number after
 * another. Standard output is a terminal. */
int live_run(struct call *c, const struct live_options *o);

#endif
