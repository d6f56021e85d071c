/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conf: saciped.conf as a plain struct, and the questions that policy asks.
 *
 * Owns the names, defaults and limits of every key, and is the only user of
 * libconfig. Never opens the state directory, never asks the kernel, never
 * logs: an error is one line of text with file and line.
 */
#ifndef SACIPED_CONF_H
#define SACIPED_CONF_H

#include "addr.h"
#include "reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONF_ERROR_MAX 512 /* one line, with file and line number */
#define CONF_DIR_MAX 90	   /* "/saciped.sock" must still fit in sun_path */
#define CONF_NAME_MAX 64
#define CONF_KEY_SIZE 32
#define CONF_PEERS_MAX 4096
#define CONF_PEER_ADDRS_MAX 16
#define CONF_PREFIXES_MAX 1024 /* of each list */
#define CONF_RULES_MAX 1024    /* of each list */
#define CONF_REVOKED_MAX 4096
#define CONF_FILE_MAX (4 * 1024 * 1024)
#define CONF_KEYS_TEXT_MAX 256 /* names of all keys, comma-separated */

enum conf_first_contact {
	CONF_FIRST_CONTACT_ACCEPT,
	CONF_FIRST_CONTACT_PINNED,
};

enum conf_rewrite { /* of moved flows, once they are settled */
	CONF_REWRITE_AUTO, /* in the kernel where it can */
	CONF_REWRITE_KERNEL, /* there or not at all: no start */
	CONF_REWRITE_QUEUE, /* by the daemon */
};

struct conf_peer {
	char name[CONF_NAME_MAX];
	uint8_t public_key[CONF_KEY_SIZE];
	struct addr address[CONF_PEER_ADDRS_MAX];
	unsigned int n_addresses;
};

/* One entry of allow or deny: "[tcp|udp ]PREFIX[ PORT[-PORT]]". */
struct conf_rule {
	uint8_t proto;		      /* IPPROTO_TCP, IPPROTO_UDP or 0 = both */
	struct prefix prefix;	      /* of the remote address */
	uint16_t port_low, port_high; /* of either end; 0 to 65535 = any */
};

struct conf_prefixes {
	struct prefix *item;
	unsigned int n;
};

struct conf_rules {
	struct conf_rule *item;
	unsigned int n;
};

struct conf_keys {
	uint8_t (*item)[CONF_KEY_SIZE];
	unsigned int n;
};

/* An address of a peer, by its place in the file. */
struct conf_place {
	struct addr addr;
	unsigned int peer;
};

struct conf_peers {
	struct conf_peer *item;
	unsigned int n;
	struct conf_place *place; /* all addresses, sorted */
	unsigned int n_places;
};

struct conf {
	/* These take effect at the next start only. */
	char runtime_dir[CONF_DIR_MAX]; /* absolute, no slash at the end */
	char state_dir[CONF_DIR_MAX];
	uint16_t port;
	uint32_t mark;	/* exactly one bit */
	uint32_t table; /* routing tables `table` and `table + 1` */
	uint16_t queue; /* queue numbers `queue` to `queue + 38` */
	uint16_t queues; /* of workers, at most */
	uint32_t max_flows;
	uint32_t max_peers;

	/* These follow a SIGHUP. */
	enum conf_rewrite rewrite;
	uint32_t long_lived_after_s; /* 0 = at once */
	enum conf_first_contact first_contact;
	struct conf_prefixes initiate;
	struct conf_peers peers;
	struct conf_rules allow;	    /* empty: every flow */
	struct conf_rules deny;		    /* wins over allow */
	struct conf_prefixes locator_allow; /* empty: every locator */
	struct conf_prefixes locator_deny;  /* wins over locator_allow */
	bool allow_private; /* private locator on a public path */
	bool leave_tunnel;  /* from one tunnel interface onto another */
	struct conf_keys revoked_keys;
};

/* The built-in values; owns no memory until conf_load() fills it. */
void conf_init(struct conf *conf);

/* Reads `path` into `conf`, which need not be initialised: keys that the
 * file does not name keep their built-in values. 0, or -errno with one line
 * "FILE:LINE: what is wrong" (no newline) in `error`, and then `conf` owns
 * nothing. -EINVAL where the text is wrong, else what open() or malloc()
 * said. conf_free() releases what it allocated. */
int conf_load(const char *path, struct conf *conf, char error[CONF_ERROR_MAX]);
/* The same, from text; `name` stands for the file in errors. `text` is
 * NUL-terminated. */
int conf_parse(const char *text, const char *name, struct conf *conf,
	       char error[CONF_ERROR_MAX]);
void conf_free(struct conf *conf);

/* After a re-read. Writes the names of the keys in which `fresh` differs
 * from `running` although only a start may change them, comma-separated, to
 * `names` ("" where there are none), and puts the running values back into
 * `fresh`, so that it can take the place of `running` whole. Returns how
 * many keys those were. */
unsigned int conf_keep_start_keys(const struct conf *running,
				  struct conf *fresh,
				  char names[CONF_KEYS_TEXT_MAX]);

/* Is this flow one to care for? `deny` wins; an empty `allow` allows all. */
bool conf_flow_allowed(const struct conf *conf, const struct tuple *flow);

/* May a handshake be opened by ourselves to `remote`? An address of `peers`
 * or a prefix of `initiate`. */
bool conf_initiate_allowed(const struct conf *conf, const struct addr *remote);

/* The configured peer that lists `a`, or that has this key; NULL where none
 * does. Where several peers list an address, the first in the file. */
const struct conf_peer *conf_find_peer_by_addr(const struct conf *conf,
					       const struct addr *a);
const struct conf_peer *
conf_find_peer_by_key(const struct conf *conf,
		      const uint8_t public_key[CONF_KEY_SIZE]);
const struct conf_peer *conf_find_peer_by_name(const struct conf *conf,
					       const char *name);
bool conf_key_revoked(const struct conf *conf,
		      const uint8_t public_key[CONF_KEY_SIZE]);

/* May `locator` take the place of `current` on the wire, as an end of a
 * flow (the other side's or our own)? REASON_NONE, or why not: LOOPBACK,
 * MULTICAST, LINK_LOCAL, FAMILY, POLICY (lists, broadcast, unspecified,
 * reserved, private while `current` is public). What only the kernel knows
 * (own addresses, a subnet's broadcast) is asked elsewhere. `current` may
 * be NULL: then family and privacy are not judged. sacip(7),
 * "Policy". */
enum reason conf_locator_check(const struct conf *conf,
			       const struct addr *locator,
			       const struct addr *current);

/* Names of all keys, in the order of the manual; NULL ends it. For tests
 * of the manual and the example against the code. */
const char *conf_key_name(unsigned int i);

#endif
