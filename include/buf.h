/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buf: bounded writing and reading of big-endian bytes.
 *
 * Owns the bounds check and the byte order, nothing else: the memory is the
 * caller's. Errors stick: after the first put or get that does not fit,
 * nothing more is written, every get yields zeros, and buf_*_ok() is false.
 * So a codec asks once, at its end. Never allocates.
 */
#ifndef SACIPED_BUF_H
#define SACIPED_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf_writer {
	uint8_t *data; /* borrowed */
	size_t size; /* of `data` */
	size_t len; /* written so far */
	bool failed;
};

struct buf_reader {
	const uint8_t *data; /* borrowed */
	size_t len;
	size_t at; /* read so far */
	bool failed;
};

void buf_writer_init(struct buf_writer *w, uint8_t *data, size_t size);
void buf_put_u8(struct buf_writer *w, uint8_t v);
void buf_put_be16(struct buf_writer *w, uint16_t v);
void buf_put_be32(struct buf_writer *w, uint32_t v);
void buf_put_be64(struct buf_writer *w, uint64_t v);
void buf_put_bytes(struct buf_writer *w, const void *from, size_t len);
void buf_put_zeros(struct buf_writer *w, size_t len);
bool buf_writer_ok(const struct buf_writer *w);

void buf_reader_init(struct buf_reader *r, const uint8_t *data, size_t len);
uint8_t buf_get_u8(struct buf_reader *r);
uint16_t buf_get_be16(struct buf_reader *r);
uint32_t buf_get_be32(struct buf_reader *r);
uint64_t buf_get_be64(struct buf_reader *r);
void buf_get_bytes(struct buf_reader *r, void *to, size_t len);
/* The next `len` bytes in place and skips them; NULL where fewer are left. */
const uint8_t *buf_get_view(struct buf_reader *r, size_t len);
size_t buf_left(const struct buf_reader *r); /* 0 after an error */
bool buf_reader_ok(const struct buf_reader *r);

#endif
