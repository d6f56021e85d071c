/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire: header and handshake datagrams, and the names of types and results.
 *
 * Owns their layout; that of the transport's plaintext is in
 * wire_message.c. Never seals, never judges what it read.
 */
#include "wire.h"

#include <string.h>

_Static_assert(WIRE_INIT_NOISE_AT + WIRE_NOISE_INIT_SIZE <= WIRE_INIT_SIZE,
	       "INIT's padding is not negative");
_Static_assert(WIRE_RETRY_SIZE <= WIRE_INIT_SIZE,
	       "no answer to a stranger is larger than his question");

/* The smallest transport datagram: src and dst, a body of nothing, tag. */
#define TRANSPORT_MIN (WIRE_HEADER_SIZE + WIRE_PATH_SIZE + CRYPTO_TAG_SIZE)

bool wire_type_is_handshake(uint8_t type)
{
	return type >= WIRE_INIT && type <= WIRE_FIN;
}

static bool type_is_reserved(uint8_t type)
{
	switch (type) {
	case WIRE_ADDRS:
	case WIRE_ADDRS_ACK:
	case WIRE_ASK:
	case WIRE_TELL:
	case WIRE_KEY_NEXT:
	case WIRE_HINT:
		return true;
	default:
		return false;
	}
}

void wire_encode_header(const struct wire_header *h,
			uint8_t to[WIRE_HEADER_SIZE])
{
	struct buf_writer w;

	buf_writer_init(&w, to, WIRE_HEADER_SIZE);
	buf_put_u8(&w, h->type);
	buf_put_u8(&w, WIRE_VERSION);
	buf_put_be16(&w, 0);
	buf_put_be32(&w, h->index);
	buf_put_be64(&w, h->counter);
}

static enum wire_result check_length(size_t len, size_t min, size_t max)
{
	return len < min ? WIRE_SHORT : len > max ? WIRE_LONG : WIRE_OK;
}

static size_t handshake_size(uint8_t type)
{
	switch (type) {
	case WIRE_INIT:
		return WIRE_INIT_SIZE;
	case WIRE_RETRY:
		return WIRE_RETRY_SIZE;
	case WIRE_RESP:
		return WIRE_RESP_SIZE;
	default:
		return WIRE_FIN_SIZE;
	}
}

enum wire_result wire_decode_header(const uint8_t *data, size_t len,
				    struct wire_header *h)
{
	struct buf_reader r;
	enum wire_result result;
	uint8_t version;
	uint16_t zero;

	memset(h, 0, sizeof *h);
	buf_reader_init(&r, data, len);
	h->type = buf_get_u8(&r);
	version = buf_get_u8(&r);
	zero = buf_get_be16(&r);
	h->index = buf_get_be32(&r);
	h->counter = buf_get_be64(&r);
	if (!buf_reader_ok(&r))
		return WIRE_SHORT;
	if (version != WIRE_VERSION)
		return WIRE_BAD_VERSION;
	if (zero)
		return WIRE_NOT_ZERO;
	if (wire_type_is_handshake(h->type)) {
		size_t size = handshake_size(h->type);

		result = check_length(len, size, size);
		if (!result && h->counter)
			result = WIRE_NOT_ZERO;
	} else if (wire_type_name(h->type)[0] == '?') {
		result = WIRE_BAD_TYPE;
	} else {
		result = check_length(len, TRANSPORT_MIN, WIRE_PAYLOAD_MAX);
	}
	if (result)
		return result;
	if ((h->index == 0) != (h->type == WIRE_INIT))
		return WIRE_BAD_VALUE;
	return type_is_reserved(h->type) ? WIRE_RESERVED : WIRE_OK;
}

/* ---- handshake datagrams --------------------------------------------- */

static void begin(struct buf_writer *w, uint8_t *to, size_t size,
		  uint8_t type, uint32_t index)
{
	const struct wire_header h = { .type = type, .index = index };

	wire_encode_header(&h, to);
	buf_writer_init(w, to + WIRE_HEADER_SIZE, size - WIRE_HEADER_SIZE);
}

static enum wire_result expect(const uint8_t *data, size_t len, uint8_t type,
			       uint32_t *index, struct buf_reader *r)
{
	struct wire_header h;
	enum wire_result result = wire_decode_header(data, len, &h);

	if (result)
		return result;
	if (h.type != type)
		return WIRE_BAD_TYPE;
	*index = h.index;
	buf_reader_init(r, data + WIRE_HEADER_SIZE, len - WIRE_HEADER_SIZE);
	return WIRE_OK;
}

void wire_encode_init(const struct wire_init *m, uint8_t to[WIRE_INIT_SIZE])
{
	struct buf_writer w;

	begin(&w, to, WIRE_INIT_SIZE, WIRE_INIT, 0);
	buf_put_bytes(&w, m->cookie, sizeof m->cookie);
	buf_put_bytes(&w, m->mac1, sizeof m->mac1);
	buf_put_bytes(&w, m->noise, sizeof m->noise);
	buf_put_zeros(&w, w.size - w.len);
}

enum wire_result wire_decode_init(const uint8_t *data, size_t len,
				  struct wire_init *m)
{
	struct buf_reader r;
	uint32_t index;
	enum wire_result result = expect(data, len, WIRE_INIT, &index, &r);

	if (result)
		return result;
	buf_get_bytes(&r, m->cookie, sizeof m->cookie);
	buf_get_bytes(&r, m->mac1, sizeof m->mac1);
	buf_get_bytes(&r, m->noise, sizeof m->noise);
	while (buf_left(&r))
		if (buf_get_u8(&r))
			return WIRE_NOT_ZERO;
	return WIRE_OK;
}

void wire_encode_retry(uint32_t index, const uint8_t cookie[WIRE_COOKIE_SIZE],
		       uint8_t to[WIRE_RETRY_SIZE])
{
	struct buf_writer w;

	begin(&w, to, WIRE_RETRY_SIZE, WIRE_RETRY, index);
	buf_put_bytes(&w, cookie, WIRE_COOKIE_SIZE);
}

enum wire_result wire_decode_retry(const uint8_t *data, size_t len,
				   uint32_t *index,
				   uint8_t cookie[WIRE_COOKIE_SIZE])
{
	struct buf_reader r;
	enum wire_result result = expect(data, len, WIRE_RETRY, index, &r);

	if (result)
		return result;
	buf_get_bytes(&r, cookie, WIRE_COOKIE_SIZE);
	return WIRE_OK;
}

void wire_encode_resp(uint32_t index,
		      const uint8_t noise[WIRE_NOISE_RESP_SIZE],
		      uint8_t to[WIRE_RESP_SIZE])
{
	struct buf_writer w;

	begin(&w, to, WIRE_RESP_SIZE, WIRE_RESP, index);
	buf_put_bytes(&w, noise, WIRE_NOISE_RESP_SIZE);
}

enum wire_result wire_decode_resp(const uint8_t *data, size_t len,
				  uint32_t *index, const uint8_t **noise)
{
	struct buf_reader r;
	enum wire_result result = expect(data, len, WIRE_RESP, index, &r);

	if (result)
		return result;
	*noise = buf_get_view(&r, WIRE_NOISE_RESP_SIZE);
	return WIRE_OK;
}

void wire_encode_fin(uint32_t index, const uint8_t noise[WIRE_NOISE_FIN_SIZE],
		     uint8_t to[WIRE_FIN_SIZE])
{
	struct buf_writer w;

	begin(&w, to, WIRE_FIN_SIZE, WIRE_FIN, index);
	buf_put_bytes(&w, noise, WIRE_NOISE_FIN_SIZE);
}

enum wire_result wire_decode_fin(const uint8_t *data, size_t len,
				 uint32_t *index, const uint8_t **noise)
{
	struct buf_reader r;
	enum wire_result result = expect(data, len, WIRE_FIN, index, &r);

	if (result)
		return result;
	*noise = buf_get_view(&r, WIRE_NOISE_FIN_SIZE);
	return WIRE_OK;
}

/* ---- Noise payloads --------------------------------------------------- */

void wire_encode_init_payload(const struct wire_init_payload *p,
			      uint8_t to[WIRE_INIT_PAYLOAD_SIZE])
{
	struct buf_writer w;

	buf_writer_init(&w, to, WIRE_INIT_PAYLOAD_SIZE);
	buf_put_be16(&w, p->version_min);
	buf_put_be16(&w, p->version_max);
	buf_put_be32(&w, p->sender_index);
}

enum wire_result wire_decode_init_payload(const uint8_t *data, size_t len,
					  struct wire_init_payload *p)
{
	struct buf_reader r;
	enum wire_result result;

	memset(p, 0, sizeof *p);
	result = check_length(len, WIRE_INIT_PAYLOAD_SIZE,
			      WIRE_INIT_PAYLOAD_SIZE);
	if (result)
		return result;
	buf_reader_init(&r, data, len);
	p->version_min = buf_get_be16(&r);
	p->version_max = buf_get_be16(&r);
	p->sender_index = buf_get_be32(&r);
	if (p->version_min > p->version_max || p->sender_index == 0)
		return WIRE_BAD_VALUE;
	return WIRE_OK;
}

static void put_endpoint(struct buf_writer *w, const struct endpoint *e)
{
	uint8_t mapped[16];

	addr_to_mapped(&e->addr, mapped);
	buf_put_bytes(w, mapped, sizeof mapped);
	buf_put_be16(w, e->port);
}

static void get_endpoint(struct buf_reader *r, struct endpoint *e)
{
	uint8_t mapped[16];

	buf_get_bytes(r, mapped, sizeof mapped);
	e->addr = addr_from_mapped(mapped);
	e->port = buf_get_be16(r);
}

void wire_encode_hs_payload(const struct wire_hs_payload *p,
			    uint8_t to[WIRE_HS_PAYLOAD_SIZE])
{
	struct buf_writer w;

	buf_writer_init(&w, to, WIRE_HS_PAYLOAD_SIZE);
	buf_put_be32(&w, p->sender_index);
	buf_put_be32(&w, p->caps);
	put_endpoint(&w, &p->src);
	put_endpoint(&w, &p->dst);
}

enum wire_result wire_decode_hs_payload(const uint8_t *data, size_t len,
					struct wire_hs_payload *p)
{
	struct buf_reader r;
	enum wire_result result;

	memset(p, 0, sizeof *p);
	result = check_length(len, WIRE_HS_PAYLOAD_SIZE,
			      WIRE_HS_PAYLOAD_SIZE);
	if (result)
		return result;
	buf_reader_init(&r, data, len);
	p->sender_index = buf_get_be32(&r);
	p->caps = buf_get_be32(&r);
	get_endpoint(&r, &p->src);
	get_endpoint(&r, &p->dst);
	if (p->sender_index == 0)
		return WIRE_BAD_VALUE;
	if (!wire_endpoint_is_valid(&p->src) ||
	    !wire_endpoint_is_valid(&p->dst))
		return WIRE_BAD_ADDR;
	return WIRE_OK;
}

bool wire_addr_is_valid(const struct addr *a)
{
	static const uint8_t zero[16];

	return addr_is_set(a) && memcmp(a->byte, zero, addr_size(a));
}

bool wire_endpoint_is_valid(const struct endpoint *e)
{
	return wire_addr_is_valid(&e->addr) && e->port;
}

/* ---- names ------------------------------------------------------------ */

const char *wire_type_name(uint8_t type)
{
	switch (type) {
#define X(N)           \
	case WIRE_##N: \
		return #N
	X(INIT);
	X(RETRY);
	X(RESP);
	X(FIN);
	X(FLOWS);
	X(FLOWS_ACK);
	X(FLOW_END);
	X(FLOW_END_ACK);
	X(ADDRS);
	X(ADDRS_ACK);
	X(PROBE);
	X(PROBE_ACK);
	X(MOVE);
	X(ACCEPT);
	X(REFUSE);
	X(PROVE);
	X(DONE);
	X(SYNC);
	X(SYNC_ACK);
	X(ASK);
	X(TELL);
	X(KEY_NEXT);
	X(BYE);
	X(HINT);
#undef X
	default:
		return "?";
	}
}

const char *wire_result_name(enum wire_result r)
{
	switch (r) {
	case WIRE_OK:
		return "ok";
	case WIRE_SHORT:
		return "short";
	case WIRE_LONG:
		return "long";
	case WIRE_TRAILING:
		return "trailing";
	case WIRE_BAD_VERSION:
		return "bad_version";
	case WIRE_NOT_ZERO:
		return "not_zero";
	case WIRE_BAD_TYPE:
		return "bad_type";
	case WIRE_RESERVED:
		return "reserved";
	case WIRE_BAD_COUNT:
		return "bad_count";
	case WIRE_BAD_VALUE:
		return "bad_value";
	case WIRE_BAD_ADDR:
		return "bad_addr";
	case WIRE_CRITICAL:
		return "critical";
	}
	return "?";
}
