/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vectors: reads files of Noise test vectors (the common JSON form: an
 * object with "vectors", each with "protocol_name", keys in hexadecimal and
 * "messages" of payload and ciphertext). Only what t_noise needs of JSON:
 * unknown members of any kind are skipped; escapes are not decoded, since
 * nothing that is read has any.
 */
#ifndef SACIPED_TEST_VECTORS_H
#define SACIPED_TEST_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define VECTORS_MAX 512
#define VECTOR_MESSAGES_MAX 16
#define VECTOR_TEXT_MAX 2048
#define VECTOR_FILE_MAX (8 << 20)

struct vector {
	char protocol_name[80];
	char prologue[2][VECTOR_TEXT_MAX]; /* [0] initiator, [1] responder */
	char static_key[2][65];
	char ephemeral[2][65];
	char handshake_hash[129];
	unsigned int n_messages;
	struct {
		char payload[VECTOR_TEXT_MAX];
		char ciphertext[VECTOR_TEXT_MAX];
	} message[VECTOR_MESSAGES_MAX];
};

struct json {
	const char *at;
	bool bad;
};

static inline char json_peek(struct json *j)
{
	while (*j->at && strchr(" \t\r\n", *j->at))
		j->at++;
	return *j->at;
}

static inline bool json_take(struct json *j, char c)
{
	if (j->bad || json_peek(j) != c)
		return false;
	j->at++;
	return true;
}

static inline void json_expect(struct json *j, char c)
{
	if (!json_take(j, c))
		j->bad = true;
}

static inline void json_string(struct json *j, char *to, size_t size)
{
	size_t n = 0;

	json_expect(j, '"');
	for (; !j->bad && *j->at && *j->at != '"'; j->at++) {
		if (*j->at == '\\' && j->at[1])
			j->at++;
		if (to && n + 1 < size)
			to[n++] = *j->at;
		else if (to)
			j->bad = true; /* too long for what it is */
	}
	if (to)
		to[n] = '\0';
	json_expect(j, '"');
}

static inline void json_skip(struct json *j)
{
	int depth = 0;

	do {
		char c = json_peek(j);

		if (c == '"') {
			json_string(j, NULL, 0);
		} else if (c == '{' || c == '[') {
			depth++;
			j->at++;
		} else if (c == '}' || c == ']') {
			depth--;
			j->at++;
		} else if (c == '\0') {
			j->bad = true;
		} else if (c == ',' || c == ':') {
			j->at++;
		} else {
			j->at += strcspn(j->at, " \t\r\n,:{}[]\"");
		}
	} while (depth > 0 && !j->bad);
}

static inline void vector_read_messages(struct json *j, struct vector *v)
{
	json_expect(j, '[');
	do {
		char key[32];

		if (v->n_messages == VECTOR_MESSAGES_MAX) {
			j->bad = true;
			return;
		}
		json_expect(j, '{');
		do {
			json_string(j, key, sizeof key);
			json_expect(j, ':');
			if (!strcmp(key, "payload"))
				json_string(j,
					    v->message[v->n_messages].payload,
					    VECTOR_TEXT_MAX);
			else if (!strcmp(key, "ciphertext"))
				json_string(
					j,
					v->message[v->n_messages].ciphertext,
					VECTOR_TEXT_MAX);
			else
				json_skip(j);
		} while (json_take(j, ','));
		json_expect(j, '}');
		v->n_messages++;
	} while (json_take(j, ','));
	json_expect(j, ']');
}

static inline void vector_read(struct json *j, struct vector *v)
{
	const struct {
		const char *key;
		char *to;
		size_t size;
	} members[] = {
		{ "protocol_name", v->protocol_name, sizeof v->protocol_name },
		{ "init_prologue", v->prologue[0], sizeof v->prologue[0] },
		{ "resp_prologue", v->prologue[1], sizeof v->prologue[1] },
		{ "init_static", v->static_key[0], sizeof v->static_key[0] },
		{ "resp_static", v->static_key[1], sizeof v->static_key[1] },
		{ "init_ephemeral", v->ephemeral[0], sizeof v->ephemeral[0] },
		{ "resp_ephemeral", v->ephemeral[1], sizeof v->ephemeral[1] },
		{ "handshake_hash", v->handshake_hash,
		  sizeof v->handshake_hash },
	};
	char key[64];

	memset(v, 0, sizeof *v);
	json_expect(j, '{');
	do {
		size_t i = 0;

		json_string(j, key, sizeof key);
		json_expect(j, ':');
		while (i < sizeof members / sizeof members[0] &&
		       strcmp(key, members[i].key))
			i++;
		if (i < sizeof members / sizeof members[0])
			json_string(j, members[i].to, members[i].size);
		else if (!strcmp(key, "messages"))
			vector_read_messages(j, v);
		else
			json_skip(j);
	} while (json_take(j, ','));
	json_expect(j, '}');
}

/* Returns how many were read, or -1 where `text` is not of that form or
 * holds more than `max`. */
static inline int vectors_read(const char *text, struct vector *v, int max)
{
	struct json j = { .at = text };
	char key[64];
	int n = 0;

	json_expect(&j, '{');
	do {
		json_string(&j, key, sizeof key);
		json_expect(&j, ':');
		if (strcmp(key, "vectors")) {
			json_skip(&j);
			continue;
		}
		json_expect(&j, '[');
		do {
			if (n == max)
				return -1;
			vector_read(&j, &v[n++]);
		} while (json_take(&j, ','));
		json_expect(&j, ']');
	} while (json_take(&j, ','));
	json_expect(&j, '}');
	return j.bad ? -1 : n;
}

#endif
