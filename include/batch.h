/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * batch: one nftables transaction, as bytes.
 *
 * Owns a growing buffer of netlink messages between NFNL_MSG_BATCH_BEGIN and
 * _END, their sequence numbers and the packing of set elements into few
 * messages. Never sends, never knows what the sets mean.
 *
 * Elements are collected by set and come after all other messages: what is to
 * be deleted before what is to be added. The kernel looks for the set once per
 * message, and allocates less for neighbours.
 *
 * Errors stick: after the first one everything is ignored and batch_finish()
 * gives it, so that who builds a batch checks once.
 */
#ifndef SACIPED_BATCH_H
#define SACIPED_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BATCH_MESSAGE_MAX 8192 /* of one that batch_message() starts */
#define BATCH_KEY_MAX 64 /* NFT_REG32_COUNT * 4: the kernel's own bound */
#define BATCH_CHAIN_MAX 32

#define BATCH_DATA_MAX 64 /* NFT_DATA_VALUE_MAXLEN */

/* Of element messages: each of 20 sets and 48 maps by two steps at most. */
#define BATCH_LANES_MAX 160

struct nlmsghdr;

struct batch_bytes {
	uint8_t *data;
	size_t len;
	size_t cap;
};

enum batch_step { BATCH_ERASE, BATCH_DELETE, BATCH_ADD, BATCH_STEPS };

/* Elements of one set, for one step. */
struct batch_lane {
	struct batch_bytes bytes;
	const char *set; /* NULL: not used */
	enum batch_step step;
	uint16_t type; /* of the last message */
	size_t open; /* its offset */
	size_t list; /* offset of its NFTA_SET_ELEM_LIST_ELEMENTS */
};

struct batch {
	struct batch_bytes bytes; /* after batch_finish() all of it */
	struct batch_lane lane[BATCH_LANES_MAX];
	unsigned int n_lanes;
	size_t total; /* bytes so far, the lanes' included */
	size_t limit; /* of these, ends included */
	const char *table; /* of all elements; a literal of the caller */
	uint32_t seq;
	int error;
};

/* Values; nothing is allocated yet. `table` must outlive the batch. */
void batch_init(struct batch *b, const char *table, size_t limit_bytes);
void batch_free(struct batch *b);
/* Forgets the content and the error; gives a very large buffer back. */
void batch_reset(struct batch *b);

/*
 * Starts a message NFT_MSG_`type`, family inet, at most BATCH_MESSAGE_MAX
 * bytes of attributes; the caller fills it and calls batch_end() before
 * anything else. NULL after an error.
 */
struct nlmsghdr *batch_message(struct batch *b, uint16_t type, uint16_t flags);
void batch_end(struct batch *b, const struct nlmsghdr *nlh);

/* One element of `set` (a literal: the pointer is compared) is added, where
 * it is not there. timeout_ms 0 = none. */
void batch_element(struct batch *b, const char *set, const void *key,
		   size_t key_len, uint64_t timeout_ms);
/* It is deleted, there or not; what the batch adds is there afterwards. Takes
 * two messages of its own. */
void batch_erase(struct batch *b, const char *set, const void *key,
		 size_t key_len);
/* One of a map is added, or deleted, which must be there. `data` is what the
 * key leads to. */
void batch_map_element(struct batch *b, bool add, const char *map,
		       const void *key, size_t key_len, const void *data,
		       size_t data_len);
/* The same in a map of verdicts: the key leads to `chain`, at most
 * BATCH_CHAIN_MAX bytes. */
void batch_goto_element(struct batch *b, bool add, const char *map,
			const void *key, size_t key_len, const char *chain);

/* Nothing but the beginning is in it. */
bool batch_is_empty(const struct batch *b);
/* How many messages NFT_MSG_`type` are in it, elements aside. */
unsigned int batch_count(const struct batch *b, uint16_t type);
void batch_fail(struct batch *b, int error);
/* Ends the transaction; `bytes` is what is to be sent. 0 or the first
 * error: -ENOMEM, -EMSGSIZE (limit), or what batch_fail() was told. */
int batch_finish(struct batch *b);

#endif
