/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conf_read: one reader per kind of value that saciped.conf knows.
 *
 * Owns the shape of each and the words of its errors, which say what would
 * be right. Never opens a file, never guesses: what is not exactly right is
 * refused.
 */
#include "conf_read.h"

#include "crypto.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int conf_read_fail(const struct conf_reader *r, unsigned int line,
		   const char *format, ...)
{
	va_list ap;
	int n;

	if (line)
		n = snprintf(r->error, CONF_ERROR_MAX, "%.250s:%u: ", r->name,
			     line);
	else
		n = snprintf(r->error, CONF_ERROR_MAX, "%.250s: ", r->name);
	va_start(ap, format);
	vsnprintf(r->error + n, CONF_ERROR_MAX - (size_t)n, format, ap);
	va_end(ap);
	/* Text of the file may stand in it: one line, nothing to a terminal. */
	for (char *p = r->error; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	return -EINVAL;
}

static int out_of_memory(const struct conf_reader *r)
{
	conf_read_fail(r, 0, "out of memory");
	return -ENOMEM;
}

static unsigned int line_of(const config_setting_t *s)
{
	return (unsigned int)config_setting_source_line(s);
}

static void *member(const struct conf_reader *r, const struct conf_key *k)
{
	return (char *)r->conf + k->offset;
}

/* libconfig wants it without const where it only looks. */
static config_setting_t *elem(const config_setting_t *s, unsigned int i)
{
	return config_setting_get_elem((config_setting_t *)(uintptr_t)s, i);
}

/* --- single values ---------------------------------------------------- */

static int get_integer(struct conf_reader *r, const config_setting_t *s,
		       const struct conf_key *k, uint32_t *to)
{
	long long v = config_setting_get_int64(s);
	int type = config_setting_type(s);

	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
		return conf_read_fail(r, line_of(s), "%s: must be a number",
				      k->name);
	/* libconfig reads 0x80000000 into an int, sign and all. */
	if (type == CONFIG_TYPE_INT &&
	    config_setting_get_format(s) == CONFIG_FORMAT_HEX)
		v &= UINT32_MAX;
	if (v < k->min || v > k->max)
		return conf_read_fail(r, line_of(s), "%s: must be %lld to %lld",
				      k->name, (long long)k->min,
				      (long long)k->max);
	*to = (uint32_t)v;
	return 0;
}

int conf_read_u32(struct conf_reader *r, const config_setting_t *s,
		  const struct conf_key *k)
{
	return get_integer(r, s, k, member(r, k));
}

int conf_read_u16(struct conf_reader *r, const config_setting_t *s,
		  const struct conf_key *k)
{
	uint32_t v;
	int err = get_integer(r, s, k, &v);

	if (!err)
		*(uint16_t *)member(r, k) = (uint16_t)v;
	return err;
}

int conf_read_mark(struct conf_reader *r, const config_setting_t *s,
		   const struct conf_key *k)
{
	uint32_t v;
	int err = get_integer(r, s, k, &v);

	if (err)
		return err;
	if (v & (v - 1))
		return conf_read_fail(r, line_of(s),
				      "mark: must be exactly one bit,"
				      " such as 0x10000000");
	*(uint32_t *)member(r, k) = v;
	return 0;
}

int conf_read_table(struct conf_reader *r, const config_setting_t *s,
		    const struct conf_key *k)
{
	uint32_t v;
	int err = get_integer(r, s, k, &v);

	if (err)
		return err;
	/* 253 to 255 are the kernel's: default, main, local. */
	if (v >= 252 && v <= 255)
		return conf_read_fail(r, line_of(s),
				      "table: %u and %u are used, and 253"
				      " to 255 are the kernel's own",
				      v, v + 1);
	*(uint32_t *)member(r, k) = v;
	return 0;
}

int conf_read_bool(struct conf_reader *r, const config_setting_t *s,
		   const struct conf_key *k)
{
	if (config_setting_type(s) != CONFIG_TYPE_BOOL)
		return conf_read_fail(r, line_of(s),
				      "%s: must be true or false", k->name);
	*(bool *)member(r, k) = config_setting_get_bool(s) != 0;
	return 0;
}

int conf_read_dir(struct conf_reader *r, const config_setting_t *s,
		  const struct conf_key *k)
{
	const char *text = config_setting_get_string(s);
	size_t len;

	if (!text || text[0] != '/')
		return conf_read_fail(r, line_of(s),
				      "%s: must be an absolute path in"
				      " quotes",
				      k->name);
	len = strlen(text);
	while (len > 1 && text[len - 1] == '/')
		len--;
	if (len == 1)
		return conf_read_fail(r, line_of(s),
				      "%s: \"/\" is no directory of our"
				      " own",
				      k->name);
	if (len >= CONF_DIR_MAX)
		return conf_read_fail(r, line_of(s), "%s: longer than %d bytes",
				      k->name, CONF_DIR_MAX - 1);
	memset(member(r, k), 0, CONF_DIR_MAX);
	memcpy(member(r, k), text, len);
	return 0;
}

int conf_read_first_contact(struct conf_reader *r, const config_setting_t *s,
			    const struct conf_key *k)
{
	const char *text = config_setting_get_string(s);
	enum conf_first_contact *to = member(r, k);

	if (text && strcmp(text, "accept") == 0)
		*to = CONF_FIRST_CONTACT_ACCEPT;
	else if (text && strcmp(text, "pinned") == 0)
		*to = CONF_FIRST_CONTACT_PINNED;
	else
		return conf_read_fail(r, line_of(s),
				      "first_contact: must be \"accept\""
				      " or \"pinned\"");
	return 0;
}

int conf_read_rewrite(struct conf_reader *r, const config_setting_t *s,
		      const struct conf_key *k)
{
	const char *text = config_setting_get_string(s);
	enum conf_rewrite *to = member(r, k);

	if (text && strcmp(text, "auto") == 0)
		*to = CONF_REWRITE_AUTO;
	else if (text && strcmp(text, "kernel") == 0)
		*to = CONF_REWRITE_KERNEL;
	else if (text && strcmp(text, "queue") == 0)
		*to = CONF_REWRITE_QUEUE;
	else
		return conf_read_fail(r, line_of(s),
				      "rewrite: must be \"auto\", \"kernel\""
				      " or \"queue\"");
	return 0;
}

/* --- lists ------------------------------------------------------------ */

/* Checks the shape of a list of strings and counts it. */
static int count_strings(struct conf_reader *r, const config_setting_t *s,
			 const char *name, unsigned int max, unsigned int *n)
{
	unsigned int i;

	if (!config_setting_is_array(s) && !config_setting_is_list(s))
		return conf_read_fail(r, line_of(s),
				      "%s: must be a list:"
				      " [ \"..\", \"..\" ]",
				      name);
	*n = (unsigned int)config_setting_length(s);
	if (*n > max)
		return conf_read_fail(r, line_of(s), "%s: more than %u entries",
				      name, max);
	for (i = 0; i < *n; i++)
		if (config_setting_type(elem(s, i)) != CONFIG_TYPE_STRING)
			return conf_read_fail(r, line_of(elem(s, i)),
					      "%s: entry %u must"
					      " be text in quotes",
					      name, i + 1);
	return 0;
}

int conf_read_prefixes(struct conf_reader *r, const config_setting_t *s,
		       const struct conf_key *k)
{
	struct conf_prefixes *to = member(r, k);
	unsigned int n, i;
	const char *text;
	int err;

	err = count_strings(r, s, k->name, CONF_PREFIXES_MAX, &n);
	if (err || n == 0)
		return err;
	to->item = calloc(n, sizeof(*to->item));
	if (!to->item)
		return out_of_memory(r);
	for (i = 0; i < n; i++) {
		text = config_setting_get_string(elem(s, i));
		if (prefix_parse(text, &to->item[i]))
			return conf_read_fail(
				r, line_of(elem(s, i)),
				"%s: \"%.100s\" is"
				" no prefix such as 192.0.2.0/24 (bits"
				" past its length must be zero)",
				k->name, text);
	}
	to->n = n;
	return 0;
}

/* "PORT" or "LOW-HIGH"; 0 or -EINVAL. */
static int parse_ports(const char *text, struct conf_rule *rule)
{
	unsigned long v[2];
	char *end;
	int n = 0;

	do {
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		errno = 0;
		v[n] = strtoul(text, &end, 10);
		if (errno || v[n] < 1 || v[n] > UINT16_MAX)
			return -EINVAL;
		text = end + 1;
		n++;
	} while (n < 2 && *end == '-');
	if (*end != '\0' || v[n - 1] < v[0])
		return -EINVAL;
	rule->port_low = (uint16_t)v[0];
	rule->port_high = (uint16_t)v[n - 1];
	return 0;
}

/* "[tcp|udp ]PREFIX[ PORT[-PORT]]", one blank between; 0 or -EINVAL. */
static int parse_rule(const char *text, struct conf_rule *rule)
{
	char copy[80], *word = copy, *ports;

	memset(rule, 0, sizeof(*rule));
	rule->port_high = UINT16_MAX;
	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	if (strncmp(word, "tcp ", 4) == 0)
		rule->proto = IPPROTO_TCP;
	else if (strncmp(word, "udp ", 4) == 0)
		rule->proto = IPPROTO_UDP;
	if (rule->proto)
		word += 4;
	ports = strchr(word, ' ');
	if (ports) {
		*ports++ = '\0';
		if (parse_ports(ports, rule))
			return -EINVAL;
	}
	return prefix_parse(word, &rule->prefix);
}

int conf_read_rules(struct conf_reader *r, const config_setting_t *s,
		    const struct conf_key *k)
{
	struct conf_rules *to = member(r, k);
	unsigned int n, i;
	const char *text;
	int err;

	err = count_strings(r, s, k->name, CONF_RULES_MAX, &n);
	if (err || n == 0)
		return err;
	to->item = calloc(n, sizeof(*to->item));
	if (!to->item)
		return out_of_memory(r);
	for (i = 0; i < n; i++) {
		text = config_setting_get_string(elem(s, i));
		if (parse_rule(text, &to->item[i]))
			return conf_read_fail(
				r, line_of(elem(s, i)),
				"%s: \"%.100s\" is"
				" not \"[tcp|udp ]PREFIX[ PORT[-PORT]]\"",
				k->name, text);
	}
	to->n = n;
	return 0;
}

int conf_read_keys(struct conf_reader *r, const config_setting_t *s,
		   const struct conf_key *k)
{
	struct conf_keys *to = member(r, k);
	unsigned int n, i;
	int err;

	err = count_strings(r, s, k->name, CONF_REVOKED_MAX, &n);
	if (err || n == 0)
		return err;
	to->item = calloc(n, sizeof(*to->item));
	if (!to->item)
		return out_of_memory(r);
	for (i = 0; i < n; i++)
		if (crypto_key_from_text(config_setting_get_string(elem(s, i)),
					 to->item[i]))
			return conf_read_fail(
				r, line_of(elem(s, i)),
				"%s: entry %u is no"
				" public key (44 characters of base64)",
				k->name, i + 1);
	to->n = n;
	return 0;
}

/* --- peers ------------------------------------------------------------ */

static int read_peer_name(struct conf_reader *r, const config_setting_t *s,
			  struct conf_peer *peer)
{
	const char *text = config_setting_get_string(s);
	size_t len, i;

	if (!text)
		return conf_read_fail(r, line_of(s),
				      "peers: name must be text in"
				      " quotes");
	len = strlen(text);
	if (len == 0 || len >= sizeof(peer->name))
		return conf_read_fail(r, line_of(s),
				      "peers: name must have 1 to %zu"
				      " characters",
				      sizeof(peer->name) - 1);
	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) &&
		    !strchr("._-@", text[i]))
			return conf_read_fail(
				r, line_of(s),
				"peers: name may hold"
				" letters, digits and . _ - @ only");
	/* `sacipctl move 7` must mean a flow. */
	if (strspn(text, "0123456789") == len)
		return conf_read_fail(r, line_of(s),
				      "peers: a name of digits alone"
				      " would look like a flow");
	memcpy(peer->name, text, len + 1);
	return 0;
}

static int read_peer_addresses(struct conf_reader *r, const config_setting_t *s,
			       struct conf_peer *peer)
{
	unsigned int n, i, j;
	const char *text;
	int err;

	err = count_strings(r, s, "peers: addresses", CONF_PEER_ADDRS_MAX, &n);
	if (err)
		return err;
	for (i = 0; i < n; i++) {
		text = config_setting_get_string(elem(s, i));
		if (addr_parse(text, &peer->address[i]))
			return conf_read_fail(r, line_of(elem(s, i)),
					      "peers: \"%.100s\""
					      " is no numeric address",
					      text);
		for (j = 0; j < i; j++)
			if (addr_equal(&peer->address[i], &peer->address[j]))
				return conf_read_fail(
					r, line_of(elem(s, i)),
					"peers:"
					" \"%.100s\" stands there twice",
					text);
	}
	peer->n_addresses = n;
	return 0;
}

static int read_peer(struct conf_reader *r, const config_setting_t *s,
		     struct conf_peer *peer)
{
	bool has_key = false;
	int err = 0;

	if (!config_setting_is_group(s))
		return conf_read_fail(
			r, line_of(s),
			"peers: an entry must be { name ="
			" \"..\"; public_key = \"..\"; addresses ="
			" [ \"..\" ]; }");
	for (int i = 0; i < config_setting_length(s) && !err; i++) {
		const config_setting_t *m = elem(s, (unsigned int)i);
		const char *name = config_setting_name(m);
		const char *text = config_setting_get_string(m);

		if (strcmp(name, "name") == 0) {
			err = read_peer_name(r, m, peer);
		} else if (strcmp(name, "public_key") == 0) {
			if (!text ||
			    crypto_key_from_text(text, peer->public_key))
				return conf_read_fail(
					r, line_of(m),
					"peers: public_key"
					" must be 44 characters of base64,"
					" as `sacipctl key` prints");
			has_key = true;
		} else if (strcmp(name, "addresses") == 0) {
			err = read_peer_addresses(r, m, peer);
		} else {
			err = conf_read_fail(r, line_of(m),
					     "peers: unknown key"
					     " \"%.100s\"",
					     name);
		}
	}
	if (err)
		return err;
	if (!peer->name[0] || !has_key)
		return conf_read_fail(r, line_of(s), "peers: %s is missing",
				      has_key ? "name" : "public_key");
	return 0;
}

/* Of several peers at one address the first in the file comes first. */
static int compare_places(const void *a, const void *b)
{
	const struct conf_place *x = a, *y = b;
	const int order = addr_compare(&x->addr, &y->addr);

	return order ? order : (x->peer > y->peer) - (x->peer < y->peer);
}

static int sort_places(struct conf_reader *r, struct conf_peers *to)
{
	size_t n = 0;

	for (unsigned int i = 0; i < to->n; i++)
		n += to->item[i].n_addresses;
	if (n == 0)
		return 0;
	to->place = calloc(n, sizeof(*to->place));
	if (!to->place)
		return out_of_memory(r);
	for (unsigned int i = 0; i < to->n; i++)
		for (unsigned int j = 0; j < to->item[i].n_addresses; j++)
			to->place[to->n_places++] = (struct conf_place){
				.addr = to->item[i].address[j],
				.peer = i,
			};
	qsort(to->place, n, sizeof(*to->place), compare_places);
	return 0;
}

int conf_read_peers(struct conf_reader *r, const config_setting_t *s,
		    const struct conf_key *k)
{
	struct conf_peers *to = member(r, k);
	unsigned int n, i, j;
	int err;

	if (!config_setting_is_list(s))
		return conf_read_fail(r, line_of(s),
				      "peers: must be a list in round"
				      " brackets: ( { .. }, { .. } )");
	n = (unsigned int)config_setting_length(s);
	if (n > CONF_PEERS_MAX)
		return conf_read_fail(r, line_of(s),
				      "peers: more than %d entries",
				      CONF_PEERS_MAX);
	if (n == 0)
		return 0;
	to->item = calloc(n, sizeof(*to->item));
	if (!to->item)
		return out_of_memory(r);
	for (i = 0; i < n; i++) {
		const struct conf_peer *p = &to->item[i];

		err = read_peer(r, elem(s, i), &to->item[i]);
		if (err)
			return err;
		for (j = 0; j < i; j++) {
			if (strcmp(p->name, to->item[j].name) == 0)
				return conf_read_fail(
					r, line_of(elem(s, i)),
					"peers:"
					" name \"%s\" stands there twice",
					p->name);
			if (memcmp(p->public_key, to->item[j].public_key,
				   CONF_KEY_SIZE) == 0)
				return conf_read_fail(
					r, line_of(elem(s, i)),
					"peers:"
					" \"%s\" and \"%s\" have the same"
					" public_key",
					to->item[j].name, p->name);
		}
	}
	to->n = n;
	return sort_places(r, to);
}
