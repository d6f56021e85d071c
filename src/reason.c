/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reason: the names of refusals and counters.
 *
 * Owns the texts, made from the same lists as the enums, so that neither
 * can lack an entry. Never decides anything, never counts.
 */
#include "reason.h"

#include <stddef.h>

static const char *const reason_names[REASON_MAX] = {
#define X(N, n, t) [REASON_##N] = #n,
	REASON_LIST(X)
#undef X
};

static const char *const reason_texts[REASON_MAX] = {
#define X(N, n, t) [REASON_##N] = t,
	REASON_LIST(X)
#undef X
};

static const char *const counter_names[COUNTER_MAX] = {
#define X(N, n) [COUNTER_##N] = #n,
	COUNTER_LIST(X)
#undef X
};

enum reason reason_from_wire(uint8_t byte)
{
	return byte && byte < REASON_MAX ? (enum reason)byte : REASON_POLICY;
}

/* Reasons arrive from peers as a byte, newer ones than ours among them. */
const char *reason_name(enum reason r)
{
	return (size_t)r < REASON_MAX ? reason_names[r] : "unknown";
}

const char *reason_text(enum reason r)
{
	return (size_t)r < REASON_MAX ? reason_texts[r] :
					"a reason this version does not know";
}

const char *counter_name(enum counter_id c)
{
	return (size_t)c < COUNTER_MAX ? counter_names[c] : "unknown";
}
