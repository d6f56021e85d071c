/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pins: what the table of peers remembers across restarts, as text.
 *
 * Owns the list of addresses of each record, the look-up by address, and
 * the text form. A pin grants nothing by itself. Never touches a file.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer_impl.h"

#define LINE_WORDS_MAX (3 + PEER_PIN_ADDRS_MAX)

static const char header[] =
	"# saciped: peers met. Key, first and last seen, addresses.\n";

static struct place *place_find(const struct peer_table *t,
				const struct addr *remote)
{
	struct place *at;

	HASH_FIND(hh, t->places, remote, sizeof(*remote), at);
	return at;
}

struct peer *peer_find_addr(const struct peer_table *t,
			    const struct addr *remote)
{
	const struct place *at = place_find(t, remote);

	return at ? at->last : NULL;
}

/* at->n where it is not there. */
static unsigned int place_index(const struct place *at, const struct peer *p)
{
	unsigned int i = 0;

	while (i < at->n && at->peer[i] != p)
		i++;
	return i;
}

static void place_free_empty(struct peer_table *t, struct place *at)
{
	if (at->n)
		return;
	HASH_DELETE(hh, t->places, at);
	free(at->peer);
	free(at);
}

static void place_remove(struct peer *p, const struct addr *remote)
{
	struct peer_table *t = p->table;
	struct place *at = place_find(t, remote);
	unsigned int i = at ? place_index(at, p) : 0;

	if (!at || i == at->n)
		return;
	at->n--;
	memmove(&at->peer[i], &at->peer[i + 1],
		(at->n - i) * sizeof(*at->peer));
	if (at->n && at->last == p)
		at->last = at->peer[at->n - 1];
	place_free_empty(t, at);
}

static struct place *place_obtain(struct peer_table *t,
				  const struct addr *remote)
{
	struct place *at = place_find(t, remote);

	if (at)
		return at;
	at = calloc(1, sizeof(*at));
	if (!at)
		return NULL;
	at->addr = *remote;
	HASH_ADD(hh, t->places, addr, sizeof(at->addr), at);
	if (at->hh.tbl)
		return at;
	free(at);
	return NULL;
}

static bool place_grow(struct place *at)
{
	const unsigned int room = at->room ? 2 * at->room : 1;
	struct peer **peer;

	if (at->n < at->room)
		return true;
	peer = realloc(at->peer, room * sizeof(*peer));
	if (!peer)
		return false;
	at->peer = peer;
	at->room = room;
	return true;
}

/* It is there, and the one seen last, or not. */
static void place_set(struct peer *p, const struct addr *remote, bool last)
{
	struct place *at = place_obtain(p->table, remote);

	if (!at)
		return;
	if (place_index(at, p) == at->n) {
		if (!place_grow(at)) {
			place_free_empty(p->table, at);
			return;
		}
		at->peer[at->n++] = p;
	}
	/* Last come, first found: addresses are handed on. */
	if (last || !at->last)
		at->last = p;
}

struct peer *peer_turn_at(const struct peer_table *t,
			  const struct addr *remote, uint32_t nth,
			  unsigned int *keys)
{
	const struct place *at = place_find(t, remote);
	unsigned int i = 0;

	*keys = 0;
	for (i = 0; at && i < at->n; i++)
		*keys += at->peer[i]->session[0] != NULL;
	if (*keys == 0)
		return NULL;
	nth %= *keys;
	for (i = 0; nth || !at->peer[i]->session[0]; i++)
		nth -= at->peer[i]->session[0] != NULL;
	return at->peer[i];
}

bool peer_port_taken(const struct peer_table *t, const struct addr *remote)
{
	const struct place *at = place_find(t, remote);

	for (unsigned int i = 0; at && i < at->n; i++)
		if (at->peer[i]->session[0] && at->peer[i]->port == t->port)
			return true;
	return false;
}

bool peer_pinned_at(const struct peer *p, const struct addr *remote)
{
	for (unsigned int i = 0; i < p->n_pin; i++)
		if (addr_equal(&p->pin[i].addr, remote))
			return true;
	return false;
}

/* To the front; true where it is a new one. */
static bool pin_add(struct peer *p, const struct addr *remote)
{
	struct pin pin = { .addr = *remote };
	unsigned int i = 0;
	bool fresh;

	while (i < p->n_pin && !addr_equal(&p->pin[i].addr, remote))
		i++;
	fresh = i == p->n_pin;
	if (!fresh) {
		pin = p->pin[i];
	} else if (i < PEER_PIN_ADDRS_MAX) {
		p->n_pin++;
	} else {
		i--;
		place_remove(p, &p->pin[i].addr);
	}
	memmove(&p->pin[1], &p->pin[0], i * sizeof(p->pin[0]));
	p->pin[0] = pin;
	return fresh;
}

void peer_seen_at(struct peer *p, uint64_t now_ms, const struct addr *remote,
		  bool proved)
{
	struct peer_table *t = p->table;
	bool fresh = p->first_seen_s == 0;

	p->last_seen_s = t->ops.wall_s(t->arg);
	if (fresh)
		p->first_seen_s = p->last_seen_s;
	if (pin_add(p, remote))
		fresh = true;
	if (proved)
		p->pin[0].proved_ms = now_ms ? now_ms : 1; /* 0: never */
	place_set(p, remote, true);
	if (fresh && t->ops.pins_changed)
		t->ops.pins_changed(t->arg);
}

uint64_t peer_remote_validated_ms(const struct peer *p,
				  const struct addr *remote)
{
	for (unsigned int i = 0; i < p->n_pin; i++)
		if (addr_equal(&p->pin[i].addr, remote))
			return p->pin[i].proved_ms;
	return 0;
}

void peer_unpin_all(struct peer *p)
{
	for (unsigned int i = 0; i < p->n_pin; i++)
		place_remove(p, &p->pin[i].addr);
	p->n_pin = 0;
}

int64_t peer_first_seen_s(const struct peer *p)
{
	return p->first_seen_s;
}

int64_t peer_last_seen_s(const struct peer *p)
{
	return p->last_seen_s;
}

unsigned int peer_pin_addrs(const struct peer *p,
			    struct addr addrs[PEER_PIN_ADDRS_MAX])
{
	for (unsigned int i = 0; i < p->n_pin; i++)
		addrs[i] = p->pin[i].addr;
	return p->n_pin;
}

/* ---- text ------------------------------------------------------------- */

static int parse_time(const char *word, int64_t *s)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(word, &end, 10);
	if (end == word || *end || errno || v < 0)
		return -EINVAL;
	*s = v;
	return 0;
}

struct pin_line {
	uint8_t key[CRYPTO_KEY_SIZE];
	int64_t first_s, last_s;
	struct addr addr[PEER_PIN_ADDRS_MAX];
	unsigned int n;
};

/* 1: a pin, 0: nothing on it, -EINVAL. */
static int parse_line(char *line, struct pin_line *pin)
{
	char *word[LINE_WORDS_MAX], *save = NULL, *w;
	int n = 0;

	for (w = strtok_r(line, " \t\r", &save); w;
	     w = strtok_r(NULL, " \t\r", &save)) {
		if (n == 0 && w[0] == '#')
			return 0;
		if (n == LINE_WORDS_MAX)
			return -EINVAL;
		word[n++] = w;
	}
	if (n == 0)
		return 0;
	if (n < 3 || crypto_key_from_text(word[0], pin->key) < 0 ||
	    parse_time(word[1], &pin->first_s) < 0 ||
	    parse_time(word[2], &pin->last_s) < 0)
		return -EINVAL;
	pin->n = 0;
	for (int i = 3; i < n; i++)
		if (addr_parse(word[i], &pin->addr[pin->n++]) < 0)
			return -EINVAL;
	return 1;
}

static int pin_load(struct peer_table *t, const struct pin_line *pin)
{
	struct peer *p;

	if (!peer_find_key(t, pin->key) && peer_table_is_full(t, pin->key))
		return -ENOSPC;
	p = peer_obtain(t, pin->key, NULL);
	if (!p)
		return -ENOMEM;
	p->first_seen_s = pin->first_s;
	p->last_seen_s = pin->last_s;
	/* The first address in the file was the last one seen. */
	for (unsigned int i = pin->n; i > 0; i--) {
		struct peer *other = peer_find_addr(t, &pin->addr[i - 1]);

		pin_add(p, &pin->addr[i - 1]);
		place_set(p, &pin->addr[i - 1],
			  !other || other->last_seen_s < p->last_seen_s);
	}
	return 0;
}

int peer_pins_load(struct peer_table *t, const char *text, size_t len)
{
	char line[PEER_PIN_LINE_MAX + 1];
	struct pin_line pin;
	int bad = 0, ret;

	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		ret = -EINVAL;
		if (n < sizeof(line) && !memchr(text, '\0', n)) {
			memcpy(line, text, n);
			line[n] = '\0';
			ret = parse_line(line, &pin);
		}
		if (ret > 0)
			ret = pin_load(t, &pin);
		if (ret == -ENOSPC || ret == -ENOMEM)
			return ret;
		if (ret < 0)
			bad++;
		n += end ? 1 : 0;
		text += n;
		len -= n;
	}
	return bad;
}

/* Length of the line, "\n" included; `line` has room for the longest. */
static size_t format_line(const struct peer *p, char *line)
{
	char key[CRYPTO_KEY_TEXT_SIZE], addr[ADDR_TEXT_MAX];
	size_t at;

	crypto_key_to_text(p->key, key);
	at = (size_t)sprintf(line, "%s %" PRId64 " %" PRId64, key,
			     p->first_seen_s, p->last_seen_s);
	for (unsigned int i = 0; i < p->n_pin; i++)
		at += (size_t)sprintf(line + at, " %s",
				      addr_format(&p->pin[i].addr, addr));
	line[at++] = '\n';
	return at;
}

size_t peer_pins_size(const struct peer_table *t)
{
	return sizeof(header) + HASH_COUNT(t->peers) * PEER_PIN_LINE_MAX;
}

long peer_pins_save(const struct peer_table *t, char *to, size_t size)
{
	char line[PEER_PIN_LINE_MAX + 1];
	size_t at = sizeof(header) - 1;

	if (size < sizeof(header))
		return -ENOSPC;
	memcpy(to, header, at);
	for (const struct peer *p = t->peers; p; p = p->hh.next) {
		size_t n;

		if (p->first_seen_s == 0)
			continue;
		n = format_line(p, line);
		if (n >= size - at)
			return -ENOSPC;
		memcpy(to + at, line, n);
		at += n;
	}
	to[at] = '\0';
	return (long)at;
}
