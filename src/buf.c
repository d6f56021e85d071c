/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buf: bounded writing and reading of big-endian bytes.
 *
 * Owns the bounds check, the byte order and the sticky error. Never
 * allocates, never owns the memory.
 */
#include "buf.h"

#include <string.h>

void buf_writer_init(struct buf_writer *w, uint8_t *data, size_t size)
{
	*w = (struct buf_writer){ .data = data, .size = size };
}

/* Room for `len` more bytes, now taken; NULL after any error. */
static uint8_t *claim(struct buf_writer *w, size_t len)
{
	uint8_t *at;

	if (w->failed || len > w->size - w->len) {
		w->failed = true;
		return NULL;
	}
	at = w->data + w->len;
	w->len += len;
	return at;
}

static void put_be(struct buf_writer *w, uint64_t v, unsigned int size)
{
	uint8_t *at = claim(w, size);

	if (!at)
		return;
	for (unsigned int i = size; i-- > 0; v >>= 8)
		at[i] = (uint8_t)v;
}

void buf_put_u8(struct buf_writer *w, uint8_t v)
{
	put_be(w, v, 1);
}

void buf_put_be16(struct buf_writer *w, uint16_t v)
{
	put_be(w, v, 2);
}

void buf_put_be32(struct buf_writer *w, uint32_t v)
{
	put_be(w, v, 4);
}

void buf_put_be64(struct buf_writer *w, uint64_t v)
{
	put_be(w, v, 8);
}

void buf_put_bytes(struct buf_writer *w, const void *from, size_t len)
{
	uint8_t *at = claim(w, len);

	if (at && len)
		memcpy(at, from, len);
}

void buf_put_zeros(struct buf_writer *w, size_t len)
{
	uint8_t *at = claim(w, len);

	if (at && len)
		memset(at, 0, len);
}

bool buf_writer_ok(const struct buf_writer *w)
{
	return !w->failed;
}

void buf_reader_init(struct buf_reader *r, const uint8_t *data, size_t len)
{
	*r = (struct buf_reader){ .data = data, .len = len };
}

const uint8_t *buf_get_view(struct buf_reader *r, size_t len)
{
	const uint8_t *at;

	if (r->failed || len > r->len - r->at) {
		r->failed = true;
		return NULL;
	}
	at = r->data + r->at;
	r->at += len;
	return at;
}

static uint64_t get_be(struct buf_reader *r, unsigned int size)
{
	const uint8_t *at = buf_get_view(r, size);
	uint64_t v = 0;

	for (unsigned int i = 0; at && i < size; i++)
		v = v << 8 | at[i];
	return v;
}

uint8_t buf_get_u8(struct buf_reader *r)
{
	return (uint8_t)get_be(r, 1);
}

uint16_t buf_get_be16(struct buf_reader *r)
{
	return (uint16_t)get_be(r, 2);
}

uint32_t buf_get_be32(struct buf_reader *r)
{
	return (uint32_t)get_be(r, 4);
}

uint64_t buf_get_be64(struct buf_reader *r)
{
	return get_be(r, 8);
}

void buf_get_bytes(struct buf_reader *r, void *to, size_t len)
{
	const uint8_t *at = buf_get_view(r, len);

	if (at && len)
		memcpy(to, at, len);
	else if (len)
		memset(to, 0, len);
}

size_t buf_left(const struct buf_reader *r)
{
	return r->failed ? 0 : r->len - r->at;
}

bool buf_reader_ok(const struct buf_reader *r)
{
	return !r->failed;
}
