/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * own: what the simulation of ownership is made of.
 *
 * Owns the world: two hosts and a liar, each with the real claims, proofs and
 * nonces (claim.h); the flows between them; messages and nonces on their way.
 * Everything follows from a seed.
 */
#ifndef SACIPED_SIM_OWN_H
#define SACIPED_SIM_OWN_H

#include "claim.h"
#include "claim_mutants.h"
#include "nonce.h"
#include "random.h"
#include "wire.h"

#define HOSTS 3
#define LIAR 2
#define FLOWS 5
#define LETTERS 1024
#define PARCELS 512
#define HEARD 64 /* bytes that the liar knows, and packets that were seen */

/* What the liar and his friend on the path can do. Who sees what goes on a flow
 * and can send in place of its end, is its end to all who can be told: he may
 * have what nobody owns (sacip(7), "Security considerations"), so POWER_ALL
 * comes late, and then the rest of it is nobody's business. */
enum power {
	POWER_NONE, /* an honest host */
	POWER_SENDS, /* with the address of others, but hears nothing */
	POWER_SEES, /* what arrives, and cannot make it arrive once more */
	POWER_ALL,
	POWERS
};

struct flow;

/* An end that a host has, or that the liar says he has. */
struct flow_end {
	struct claim claim; /* first */
	struct flow *flow;
	struct tuple tuple;
	unsigned int side;
	bool open;
	unsigned int watched;
	uint32_t sent; /* numbers */
};

struct flow {
	unsigned int number, host[2];
	struct flow_end real[2], posed[2];
	uint32_t shift[2]; /* what the path adds to what that end sends */
	bool path_ok[2][HOSTS]; /* was found good at that end, for that peer */
	bool lost; /* nobody owned it when the liar could do all */
	bool kept; /* both did, and keep it */
};

/* What a host keeps of another. */
struct link {
	struct world *w;
	unsigned int host, peer;
	struct nonce_ends ends;
	struct claim_table *table;
	bool met[HOSTS]; /* at that host's address */
	bool down;
	bool unmet; /* what is answered came from where it was not met */
};

struct letter {
	uint64_t at_ms;
	struct link *to;
	uint8_t type;
	uint64_t order; /* of sending */
	uint8_t plain[WIRE_PLAIN_MAX];
	size_t len;
};

struct parcel {
	uint64_t at_ms, sent_ms;
	struct flow *flow;
	unsigned int to; /* side */
	bool honest; /* of a proof between its two ends, where it belongs */
	uint8_t nonce[WIRE_NONCE_SIZE];
	struct nonce_numbers n;
};

struct stats {
	uint64_t confirmed, liars, lies, nonces, rewritten, kept;
};

struct world {
	uint64_t seed, random, now_ms, heal_ms, all_ms, lie_ms, event_ms;
	unsigned int loss, dup, spread_ms;
	enum power power;
	bool passes; /* the liar sits between the hosts, and passes on */
	bool near; /* what the liar sees he names before anybody else */
	bool attacker; /* without a key: he holds back, repeats, relays */
	bool posed_at[HOSTS]; /* the liar was met at that host's address */
	uint8_t key[HOSTS][CRYPTO_KEY_SIZE];
	struct counters counters[HOSTS];
	struct link link[HOSTS][HOSTS];
	struct flow flow[FLOWS];
	struct letter letter[LETTERS];
	unsigned int n_letters;
	uint64_t n_sent;
	struct parcel parcel[PARCELS], seen[HEARD];
	unsigned int n_parcels, n_seen;
	/* what the liar has heard */
	uint8_t bytes[HEARD][WIRE_NONCE_SIZE];
	uint64_t ids[HEARD];
	unsigned int n_bytes, n_ids;
	bool verbose;
	struct stats stats;
	char failure[256]; /* empty: none */
};

void own_fail(struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void own_tell(const struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static inline unsigned int own_pick(struct world *w, unsigned int n)
{
	return (unsigned int)random_below(&w->random, n);
}

static inline bool own_chance(struct world *w, unsigned int percent)
{
	return own_pick(w, 100) < percent;
}

/* own_host.c: what claims ask of a host. */
extern const struct claim_ops own_ops;
struct flow_end *own_end(const struct claim *c);
/* Through the network. */
void own_send(struct link *l, struct wire_message *m);
void own_deliver(struct world *w, const struct letter *l);
void own_arrive(struct world *w, const struct parcel *p);
void own_post(struct world *w, const struct parcel *p);

/* own_liar.c */
void liar_hear(struct world *w, const struct wire_message *m);
void liar_know(struct world *w, const uint8_t nonce[WIRE_NONCE_SIZE]);
/* What arrives at an end of others: he tells its sender that it did. */
void liar_sees(struct world *w, const struct parcel *p);
/* False: it goes to his own claims. */
bool liar_passes_on(struct link *l, struct wire_message *m);
void liar_act(struct world *w);

#endif
