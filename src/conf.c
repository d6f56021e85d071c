/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conf: from the text of saciped.conf to struct conf.
 *
 * Owns the table of keys, their defaults and which of them wait for a
 * restart. Values are read by conf_read, the questions that policy asks of
 * the result are in conf_policy. Never reads any other file: @include is
 * refused, so a line number always belongs to the file that was named.
 */
#include "conf.h"

#include "conf_read.h"
#include "peer.h" /* PEER_MAX */
#include "steer.h" /* STEER_FLOWS_MAX */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the table of keys ------------------------------------------------ */

#define AT(m) offsetof(struct conf, m)
#define START(m) AT(m), sizeof(((struct conf *)0)->m)

static const struct conf_key keys[] = {
	{ "runtime_dir", conf_read_dir, START(runtime_dir), 0, 0 },
	{ "state_dir", conf_read_dir, START(state_dir), 0, 0 },
	{ "port", conf_read_u16, START(port), 1, UINT16_MAX },
	{ "rewrite", conf_read_rewrite, START(rewrite), 0, 0 },
	{ "long_lived_after_s", conf_read_u32, AT(long_lived_after_s), 0, 0,
	  86400 },
	{ "first_contact", conf_read_first_contact, AT(first_contact), 0, 0,
	  0 },
	{ "initiate", conf_read_prefixes, AT(initiate), 0, 0, 0 },
	{ "peers", conf_read_peers, AT(peers), 0, 0, 0 },
	{ "revoked_keys", conf_read_keys, AT(revoked_keys), 0, 0, 0 },
	{ "allow", conf_read_rules, AT(allow), 0, 0, 0 },
	{ "deny", conf_read_rules, AT(deny), 0, 0, 0 },
	{ "locator_allow", conf_read_prefixes, AT(locator_allow), 0, 0, 0 },
	{ "locator_deny", conf_read_prefixes, AT(locator_deny), 0, 0, 0 },
	{ "allow_private", conf_read_bool, AT(allow_private), 0, 0, 0 },
	{ "leave_tunnel", conf_read_bool, AT(leave_tunnel), 0, 0, 0 },
	{ "mark", conf_read_mark, START(mark), 1, UINT32_MAX },
	{ "table", conf_read_table, START(table), 1, INT32_MAX - 1 },
	{ "queue", conf_read_u16, START(queue), 0, UINT16_MAX - 38 },
	{ "queues", conf_read_u16, START(queues), 0, STEER_WORKERS_MAX },
	{ "max_flows", conf_read_u32, START(max_flows), 1, STEER_FLOWS_MAX },
	{ "max_peers", conf_read_u32, START(max_peers), 1, PEER_MAX },
};

#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

const char *conf_key_name(unsigned int i)
{
	return i < N_KEYS ? keys[i].name : NULL;
}

void conf_init(struct conf *conf)
{
	memset(conf, 0, sizeof(*conf));
	strcpy(conf->runtime_dir, "/run/saciped");
	strcpy(conf->state_dir, "/var/lib/saciped");
	conf->port = 1021;
	conf->mark = STEER_MARK_DEFAULT;
	conf->table = 1021;
	conf->queue = 1021;
	conf->queues = 4;
	conf->max_flows = 1 << 16;
	conf->max_peers = 1 << 10;
	conf->long_lived_after_s = 10;
	conf->first_contact = CONF_FIRST_CONTACT_ACCEPT;
}

void conf_free(struct conf *conf)
{
	free(conf->initiate.item);
	free(conf->peers.item);
	free(conf->peers.place);
	free(conf->allow.item);
	free(conf->deny.item);
	free(conf->locator_allow.item);
	free(conf->locator_deny.item);
	free(conf->revoked_keys.item);
	memset(conf, 0, sizeof(*conf));
}

unsigned int conf_keep_start_keys(const struct conf *running,
				  struct conf *fresh,
				  char names[CONF_KEYS_TEXT_MAX])
{
	unsigned int n = 0;

	names[0] = '\0';
	for (const struct conf_key *k = keys; k < keys + N_KEYS; k++) {
		const char *was = (const char *)running + k->offset;
		char *is = (char *)fresh + k->offset;
		size_t len = strlen(names);

		if (memcmp(was, is, k->size) == 0)
			continue;
		memcpy(is, was, k->size);
		snprintf(names + len, CONF_KEYS_TEXT_MAX - len, "%s%s",
			 n ? ", " : "", k->name);
		n++;
	}
	return n;
}

/* --- the text --------------------------------------------------------- */

/* The end of the word (number, name) that starts at `p`. */
static const char *skip_word(const char *p)
{
	while (isalnum((unsigned char)*p) || *p == '_' || *p == '-' ||
	       *p == '*' || *p == '.')
		p++;
	return p;
}

/* The character behind a comment or string that starts at `p`, or `p`
 * itself. An open end is left to libconfig's own error. */
static const char *skip_opaque(const char *p)
{
	const char *end;

	if (*p == '#' || (p[0] == '/' && p[1] == '/'))
		return p + strcspn(p, "\n");
	if (p[0] == '/' && p[1] == '*') {
		end = strstr(p + 2, "*/");
		return end ? end + 2 : p + strlen(p);
	}
	if (*p != '"')
		return p;
	for (p++; *p && *p != '"'; p++)
		if (*p == '\\' && p[1])
			p++;
	return *p ? p + 1 : p;
}

static bool number_fits(const char *p)
{
	unsigned long long v;
	bool hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
	char *end;

	errno = 0;
	v = strtoull(p, &end, hex ? 16 : 10);
	if (*end == 'L') /* libconfig's 64-bit form */
		return !errno && v <= INT64_MAX;
	return !errno && v <= (hex ? UINT32_MAX : INT32_MAX);
}

/* What libconfig would let pass: numbers that it wraps silently (2^32 + 1
 * becomes 1), and other files. */
static int check_text(const struct conf_reader *r, const char *text)
{
	unsigned int line = 1;
	const char *p = text, *next;

	while (*p) {
		next = skip_opaque(p);
		if (next == p && isdigit((unsigned char)*p)) {
			next = skip_word(p);
			if (!number_fits(p))
				return conf_read_fail(
					r, line, "%.*s: number too large",
					(int)(next - p > 40 ? 40 : next - p),
					p);
		} else if (next == p && isalpha((unsigned char)*p)) {
			next = skip_word(p);
		} else if (next == p && *p == '@') {
			return conf_read_fail(r, line,
					      "@include is not supported");
		} else if (next == p) {
			next = p + 1;
		}
		for (; p < next; p++)
			line += *p == '\n';
	}
	return 0;
}

static int read_root(struct conf_reader *r, config_setting_t *root)
{
	int n = config_setting_length(root);

	for (int i = 0; i < n; i++) {
		const config_setting_t *s =
			config_setting_get_elem(root, (unsigned int)i);
		const struct conf_key *k = keys;
		int err;

		while (k < keys + N_KEYS &&
		       strcmp(k->name, config_setting_name(s)) != 0)
			k++;
		if (k == keys + N_KEYS)
			return conf_read_fail(
				r, (unsigned int)config_setting_source_line(s),
				"unknown key \"%.100s\"",
				config_setting_name(s));
		err = k->read(r, s, k);
		if (err)
			return err;
	}
	return 0;
}

/* The library's own words, which say no more than that, and what is meant. */
static int syntax_error(const struct conf_reader *r, const config_t *file)
{
	const char *text = config_error_text(file);

	return conf_read_fail(r, (unsigned int)config_error_line(file), "%s%s",
			      text, strcmp(text, "syntax error") ? "" :
			      " (here or just before: key = value; with text "
			      "in double quotes)");
}

int conf_parse(const char *text, const char *name, struct conf *conf,
	       char error[CONF_ERROR_MAX])
{
	struct conf_reader r = { .name = name, .error = error, .conf = conf };
	config_t file;
	int err;

	error[0] = '\0';
	conf_init(conf);
	err = check_text(&r, text);
	if (err)
		return err;
	config_init(&file);
	if (config_read_string(&file, text))
		err = read_root(&r, config_root_setting(&file));
	else
		err = syntax_error(&r, &file);
	config_destroy(&file);
	if (!err && strcmp(conf->runtime_dir, conf->state_dir) == 0)
		err = conf_read_fail(&r, 0,
				     "runtime_dir and state_dir are the same");
	if (err)
		conf_free(conf);
	return err;
}

/* The whole file, NUL-terminated, for the caller to free(); or NULL with
 * errno. */
static char *read_file(const char *path)
{
	struct stat st;
	char *text = NULL;
	ssize_t n = 0;
	size_t len = 0;
	int fd, err = 0;

	/* O_NONBLOCK: a FIFO in its place must not hang the start. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0)
		err = errno;
	else if (!S_ISREG(st.st_mode))
		err = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	else if (st.st_size > CONF_FILE_MAX)
		err = EFBIG;
	else if (!(text = malloc((size_t)st.st_size + 1)))
		err = ENOMEM;
	while (!err && len < (size_t)st.st_size &&
	       (n = read(fd, text + len, (size_t)st.st_size - len)) > 0)
		len += (size_t)n;
	if (!err && n < 0)
		err = errno;
	close(fd);
	if (err) {
		free(text);
		errno = err;
		return NULL;
	}
	text[len] = '\0';
	if (strlen(text) != len) {
		free(text);
		errno = EILSEQ;
		return NULL;
	}
	return text;
}

int conf_load(const char *path, struct conf *conf, char error[CONF_ERROR_MAX])
{
	char *text = read_file(path);
	int err = -errno;

	if (!text) {
		conf_init(conf);
		snprintf(error, CONF_ERROR_MAX, "%.400s: %s%s", path,
			 err == -EILSEQ ? "holds NUL bytes" : strerror(-err),
			 err == -ENOENT ? " (an empty file will do)" : "");
		return err;
	}
	err = conf_parse(text, path, conf, error);
	free(text);
	return err;
}
