/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of steer share; nobody else includes it.
 */
#ifndef SACIPED_STEER_IMPL_H
#define SACIPED_STEER_IMPL_H

#include "batch.h"
#include "netlink.h"
#include "ruleset.h"
#include "steer.h"

#include <stddef.h>

struct nlattr;
struct nlmsghdr;

#define RULES_MAX 128 /* of the table, a few more than it has */

/* By what we know our own table again. */
struct print {
	uint64_t table; /* handle; 0 = no table */
	uint64_t rule[RULES_MAX]; /* handles, the defrag chain's left out */
	unsigned int rules;
};

struct steer {
	struct netlink *nl;
	struct netlink *events; /* NULL: the table is owned */
	struct ruleset_conf conf;
	bool defrag;
	bool unveils; /* the kernel can */
	bool built;
	bool adoptable; /* the table of an earlier process is what we build */
	bool adoptable_whole; /* and puts fragments together */
	unsigned int adoptable_shape; /* 0: without hooks */
	bool building; /* in this batch */
	bool reshaping; /* this batch changes the hooks' rules */
	unsigned int shape; /* of the hooks, bits of ruleset.h */
	unsigned int shape_next; /* the same after this batch */
	uint8_t pair_key[BATCH_KEY_MAX]; /* the last one of this batch ... */
	bool pair_in, pair_out; /* ... and where it is open by now */
	bool whole; /* fragments are put together */
	bool whole_next; /* the same after this batch */
	struct batch batch;
	struct print print;
};

/* A question about our table; `buffer` (256 bytes) holds nothing but it. */
struct nlmsghdr *steer_question(void *buffer, uint16_t type, uint16_t flags);
/* An attribute of an answer. NULL where there is none, or a shorter one. */
const struct nlattr *steer_find(const struct nlmsghdr *nlh, uint16_t type,
				size_t min_len);
/* Writes the key as the rules build it; returns its length, 0 = no tuple. */
size_t steer_tuple_key(const struct tuple *t, uint8_t key[BATCH_KEY_MAX]);
/* The same without the protocol, as for flows whose ports change. */
size_t steer_ported_key(const struct tuple *t, uint8_t key[BATCH_KEY_MAX]);
bool steer_is_ours(const struct nlmsghdr *nlh); /* about our table */
bool steer_is_text(const struct nlattr *attr, const char *text); /* or NULL */
uint64_t steer_be64(const struct nlattr *attr); /* of at least 8 bytes */
int steer_take_print(struct steer *s, struct print *p);
/* steer_adopt.c: is there a table to be taken over? -errno where the kernel
 * does not say. */
int steer_look_for_own(struct steer *s);
/* The hooks are to look at flows between these addresses. */
void steer_open_pair(struct steer *s, const struct tuple *t, bool inbound,
		     bool outbound);

#endif
