/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_pins: any bytes as the file of peers met.
 *
 * Beyond not failing: the bounds hold, an address leads to none but a peer
 * that is pinned there, and what is written is read again and written to the
 * same bytes.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"

#include "fuzz.h"

#define PEERS 4 /* few, so that the bound is met */

static int on_send(void *arg, const struct endpoint *src,
		   const struct endpoint *dst, const uint8_t *data, size_t len)
{
	(void)arg;
	(void)src;
	(void)dst;
	(void)data;
	(void)len;
	return 0;
}

static void on_random(void *arg, void *to, size_t len)
{
	(void)arg;
	memset(to, 0x5a, len);
}

static int64_t on_wall(void *arg)
{
	(void)arg;
	return 1700000000;
}

static bool on_may(void *arg, const struct addr *local,
		   const struct addr *remote)
{
	(void)arg;
	(void)local;
	(void)remote;
	return false;
}

static bool on_allowed(void *arg, const struct addr *remote)
{
	(void)arg;
	(void)remote;
	return false;
}

static const uint8_t *on_key_of(void *arg, const struct addr *remote)
{
	(void)arg;
	(void)remote;
	return NULL;
}

/* Some are in `peers`. */
static bool on_configured(void *arg, const uint8_t key[CRYPTO_KEY_SIZE])
{
	(void)arg;
	return key[0] & 1;
}

static bool on_revoked(void *arg, const uint8_t key[CRYPTO_KEY_SIZE])
{
	(void)arg;
	(void)key;
	return false;
}

static bool on_closed(void *arg)
{
	(void)arg;
	return false;
}

static struct peer_table *new_table(struct counters *counters)
{
	static const struct peer_ops ops = {
		.send = on_send,
		.random = on_random,
		.wall_s = on_wall,
		.may_answer = on_may,
		.locator_allowed = on_allowed,
		.key_of_addr = on_key_of,
		.key_configured = on_configured,
		.key_revoked = on_revoked,
		.first_contact_closed = on_closed,
	};
	static const uint8_t seed[CRYPTO_KEY_SIZE] = { 8 };
	struct peer_config config = { .port = 1021, .peers_max = PEERS };
	struct peer_table *t;

	memset(counters, 0, sizeof(*counters));
	crypto_keypair_from_private(&config.key, seed);
	check(!peer_table_new(&t, &ops, NULL, &config, counters));
	return t;
}

static void check_table(const struct peer_table *t)
{
	unsigned int met = 0;

	for (struct peer *p = peer_next(t, NULL); p; p = peer_next(t, p)) {
		struct addr at[PEER_PIN_ADDRS_MAX], there[PEER_PIN_ADDRS_MAX];
		unsigned int n = peer_pin_addrs(p, at);

		met += peer_get_trust(p) != PEER_CONFIGURED;
		check(n <= PEER_PIN_ADDRS_MAX);
		check(peer_find_key(t, peer_key(p)) == p);
		check(peer_first_seen_s(p) >= 0 && peer_last_seen_s(p) >= 0);
		for (unsigned int i = 0; i < n; i++) {
			const struct peer *q = peer_find_addr(t, &at[i]);
			unsigned int left = q ? peer_pin_addrs(q, there) : 0;

			while (left && !addr_equal(&there[left - 1], &at[i]))
				left--;
			check(!q || left);
		}
	}
	check(met <= PEERS);
}

static char *save(const struct peer_table *t, size_t *len)
{
	size_t size = peer_pins_size(t);
	char *text = malloc(size);
	long n;

	check(text);
	n = peer_pins_save(t, text, size);
	check(n >= 0 && (size_t)n < size && !text[n]);
	*len = (size_t)n;
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct counters counters;
	struct peer_table *t = new_table(&counters), *other;
	char *text = malloc(size ? size : 1), *again;
	size_t len, again_len;
	int bad;

	check(text);
	memcpy(text, data, size);
	bad = peer_pins_load(t, text, size);
	check(bad == -ENOSPC || (bad >= 0 && (size_t)bad <= size));
	free(text);
	check_table(t);
	text = save(t, &len);
	peer_table_free(t);

	other = new_table(&counters);
	check(peer_pins_load(other, text, len) == 0);
	check_table(other);
	again = save(other, &again_len);
	check(again_len == len && !memcmp(again, text, len));
	peer_table_free(other);
	free(again);
	free(text);
	return 0;
}
