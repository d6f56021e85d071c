/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sacip(7) against the code: its registry, its numbers and its example are
 * what the headers and the modules say. And sacipctl(1): its counters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fuzz/handshake_setup.h"
#include "claim_impl.h"
#include "cookie.h"
#include "crypto.h"
#include "daemon.h"
#include "flow.h"
#include "migrate.h"
#include "noise.h"
#include "nonce.h"
#include "peer_impl.h"
#include "reason.h"
#include "replay.h"
#include "wire.h"

#define PAGE_MAX (256 * 1024)

/* The page with every run of blanks and line ends as one blank, without
 * macros at the start of lines. */
static char page[PAGE_MAX];
/* Its example, without any blanks. */
static char example[PAGE_MAX];

static void squeeze(const char *from)
{
	bool start = true, blank = true;
	size_t n = 0;

	for (; *from && n + 1 < sizeof page; from++) {
		if (start && *from == '.') {
			/* the macro's name */
			while (*from && !isspace((unsigned char)*from))
				from++;
			if (!*from)
				break;
		}
		start = *from == '\n';
		if (!isspace((unsigned char)*from))
			page[n++] = *from;
		else if (!blank)
			page[n++] = ' ';
		blank = isspace((unsigned char)*from);
	}
	page[n] = '\0';
}

/* The text of a page as it is; NULL where there is none. */
static const char *read_raw(const char *name)
{
	const char *srcdir = getenv("srcdir");
	static char raw[PAGE_MAX];
	char path[2048];
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "%s/man/%s", srcdir ? srcdir : ".", name);
	f = fopen(path, "r");
	if (!f) {
		print_message("# cannot read %s\n", path);
		return NULL;
	}
	n = fread(raw, 1, sizeof raw - 1, f);
	fclose(f);
	raw[n] = '\0';
	return raw;
}

static int read_page(void **state)
{
	const char *raw = read_raw("sacip.7");
	const char *at;
	size_t n;

	(void)state;
	if (!raw)
		return -1;
	squeeze(raw);
	at = strstr(raw, ".Sh EXAMPLE");
	n = 0;
	for (; at && *at && strncmp(at, ".Sh SEE", 7); at++)
		if (!isspace((unsigned char)*at))
			example[n++] = *at;
	return crypto_init();
}

static void assert_says(const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	if (!strstr(page, text))
		fail_msg("sacip(7) does not say: %s", text);
}

static void types_are_registered(void **state)
{
	uint8_t data[100] = { 0 };
	struct wire_header back;
	int n = 0;

	(void)state;
	for (int type = 0; type < 256; type++) {
		const char *name = wire_type_name((uint8_t)type);

		if (name[0] == '?')
			continue;
		n++;
		if (wire_type_is_handshake((uint8_t)type)) {
			assert_says(" %d %s handshake ", type, name);
			continue;
		}
		wire_encode_header(&(struct wire_header){ (uint8_t)type, 1,
							  0 },
				   data);
		if (wire_decode_header(data, sizeof data, &back) ==
		    WIRE_RESERVED)
			assert_says(" %d %s later, ignored ", type, name);
		else
			assert_says(" %d %s ", type, name);
	}
	assert_int_equal(n, 24);
}

static void reasons_are_registered(void **state)
{
	(void)state;
	for (int i = 0; i < REASON_MAX; i++)
		assert_says(" %d %s %s ", i, reason_name((enum reason)i),
			    reason_text((enum reason)i));
}

static void sizes_and_bounds_are_right(void **state)
{
	(void)state;
	assert_says("payload has at most %d bytes", WIRE_PAYLOAD_MAX);
	assert_says("INIT %d I>R", WIRE_INIT_SIZE);
	assert_says("RETRY %d R>I", WIRE_RETRY_SIZE);
	assert_says("RESP %d R>I", WIRE_RESP_SIZE);
	assert_says("FIN %d I>R", WIRE_FIN_SIZE);
	assert_says("padding x%d zeros", WIRE_INIT_SIZE - WIRE_INIT_NOISE_AT -
						 WIRE_NOISE_INIT_SIZE);
	assert_says("noise 1 x%d e x32", WIRE_NOISE_INIT_SIZE);
	assert_says("noise 2 x%d e x32", WIRE_NOISE_RESP_SIZE);
	assert_says("noise 3 x%d sealed", WIRE_NOISE_FIN_SIZE);
	assert_says("(bytes 0 to %d and %d to %d)", WIRE_INIT_COOKIE_AT - 1,
		    WIRE_INIT_NOISE_AT, WIRE_INIT_SIZE - 1);
	assert_says("lies %d or more behind", REPLAY_WINDOW);
	assert_says("flags u8 1: complete; others must be 0 n u8 at most %d",
		    WIRE_FLOWS_MAX);
	assert_says("FLOWS part u16 parts u16 n u8 at most %d",
		    WIRE_FLOWS_ACK_MAX);
	assert_says("number of parts, at most %d", WIRE_PARTS_MAX);
	assert_says("FLOW_END_ACK n u8 at most %d", WIRE_FLOW_END_MAX);
	assert_says("1 tag x%d 2 receipt nonce x%d, seq u32", WIRE_NONCE_SIZE,
		    WIRE_NONCE_SIZE);
	assert_says("parts u16 at most %d n u8 at most %d", WIRE_PARTS_MAX,
		    WIRE_MOVE_MAX);
	assert_says("lease_s u16 %d n u8 at most %d", MIGRATE_LEASE_MS / 1000,
		    WIRE_ACCEPT_MAX);
	assert_says("system n u8 at most %d", WIRE_REFUSE_MAX);
	assert_says("accepts fewer than %d locators", MIGRATE_ACCEPTED_MAX);
	assert_says("to addr N n u8 at most %d", WIRE_PROVE_MAX);
	assert_says("n_own u8 at most %d", WIRE_SYNC_MAX);
	assert_says("n_theirs u8 at most %d", WIRE_SYNC_MAX);
}

static void timers_are_right(void **state)
{
	(void)state;
	assert_says("clamp(2 srtt + 4 rttvar, %d ms, %d s)",
		    MIGRATE_PTO_MIN_MS, MIGRATE_PTO_MAX_MS / 1000);
	assert_int_equal(MIGRATE_PTO_MIN_MS, PEER_PTO_MIN_MS);
	assert_int_equal(MIGRATE_PTO_MAX_MS, PEER_PTO_MAX_MS);
	assert_int_equal(MIGRATE_PTO_UNKNOWN_MS, PEER_PTO_UNKNOWN_MS);
	assert_int_equal(MIGRATE_BACKOFF_MAX_MS, PEER_PTO_BACKOFF_MAX_MS);
	assert_says("%d ms while unknown; doubling to %d s",
		    MIGRATE_PTO_UNKNOWN_MS, MIGRATE_BACKOFF_MAX_MS / 1000);
	assert_says("give up %d s", MIGRATE_GIVE_UP_MS / 1000);
	assert_says("a nonce is waited for max(2 PTO, %d ms) after ACCEPT",
		    MIGRATE_TRY_MIN_MS);
	assert_says("repeated each PTO / 2 + %d ms", MIGRATE_PTO_MIN_MS / 2);
	assert_says("Not within 2 PTO, %d ms at least", MIGRATE_TRY_MIN_MS);
	assert_says("path_blocked %d min", UNFIT_MS / 60000);
	assert_says("asked for again for %d minutes", UNFIT_MS / 60000);
	assert_says("held TCP %d s, then", STALE_MS / 1000);
	assert_says("that have been held for %d s are", STALE_MS / 1000);
	assert_says("a hold of more than %d s,", STALE_MS / 1000);
	assert_says("held %d s, then any packet is dropped; TCP segments %d s",
		    STALE_DATAGRAM_MS / 1000, STALE_MOST_MS / 1000);
	assert_says("nothing outlives %d s in it, what is no TCP segment %d s",
		    STALE_MOST_MS / 1000, STALE_DATAGRAM_MS / 1000);
	assert_says("could not be woken, for %d s", STALE_MOST_MS / 1000);
	assert_says("doubt %d s, on", MIGRATE_LEASE_MS / 1000);
	assert_says("Without DONE within %d s, or %d s where",
		    MIGRATE_LEASE_MS / 1000, MIGRATE_LOST_MS / 1000);
	assert_says("after %d s, %d s where P has refused",
		    MIGRATE_LEASE_MS / 1000, MIGRATE_LOST_MS / 1000);
	assert_says("Without a MOVE within %d s,", MIGRATE_LEASE_MS / 1000);
	assert_says("quiet %d ms without", QUIET_MS);
	assert_says("pause %d s, doubling to %d s",
		    REFUSALS_PAUSE_MIN_MS / 1000, REFUSALS_PAUSE_MAX_MS / 1000);
	assert_says("there are %d at once, then %d per second", MIGRATE_BURST,
		    1000 / MIGRATE_TOKEN_MS);
	assert_says("leaves %d behind for one that cannot", MIGRATE_RESERVE);
	assert_says("for all tracks of a peer there are %d at once, then %d "
		    "per second", MIGRATE_PEER_BURST,
		    1000 / MIGRATE_PEER_TOKEN_MS);
	assert_says("A copy that comes %d ms later or more is checked anew; "
		    "for each peer there are %d of them at once, then %d per "
		    "second", MIGRATE_COPY_MS, MIGRATE_BURST,
		    1000 / MIGRATE_TOKEN_MS);
	assert_true(MIGRATE_JUMP_MAX == (uint64_t)1 << 32);
	assert_says("and its seq is at most 2^32 more than");
	assert_says("lease %d s", MIGRATE_LEASE_MS / 1000);
	assert_says("max(3 PTO, %d s) at least", MIGRATE_DRAIN_MIN_MS / 1000);
	assert_says("payload %d bytes at most", WIRE_PAYLOAD_MAX);
	assert_says("and parts %d counters %d at least", WIRE_PARTS_MAX,
		    REPLAY_WINDOW);
	assert_says("RESP %d copies at least, RETRY %d at most",
		    RESP_COPIES_MAX, RETRIES_MAX);
	assert_says("own accord %d bytes at most, %d times, then one in %d s",
		    PEER_OWN_SIZE, PEER_OWN_BURST, PEER_OWN_REFILL_MS / 1000);
	assert_says("numbers %d at once at most, then %d per second",
		    MIGRATE_BURST, 1000 / MIGRATE_TOKEN_MS);
	assert_says("MOVEs %d at once at most, then %d per second",
		    MIGRATE_PEER_BURST, 1000 / MIGRATE_PEER_TOKEN_MS);
	assert_says("ACCEPT %d at most of each number; copies within %d ms",
		    MIGRATE_ACCEPT_REPEATS_MAX, MIGRATE_COPY_MS);
	assert_says("locators %d at most that P accepts of a track, of those "
		    "not proved the last %d", MIGRATE_ACCEPTED_MAX,
		    MIGRATE_UNPROVED_MAX);
	assert_says("nonces %d at least", MIGRATE_ACCEPT_REPEATS_MAX);
	assert_says("answered for %d s at least", MIGRATE_TRY_MAX_MS / 1000);
	assert_says("crossing %d s exactly", CONCURRENT_MS / 1000);
	assert_says("stopped %d h at most", STOPPED_MS / 3600000);
	assert_says("unknown %d s at least", CLAIM_UNKNOWN_MS / 1000);
	assert_says("half-opens %d, load from %d or %d INITs",
		    PEER_HALF_OPEN_MAX, PEER_LOAD_HALF_OPEN, PEER_LOAD_RATE);
	assert_says("backoff %d s, doubling to %d s, between",
		    PEER_BACKOFF_MIN_MS / 1000, PEER_BACKOFF_MAX_MS / 1000);
	assert_says("tombstone %d s", MIGRATE_TOMBSTONE_MS / 1000);
	assert_int_equal(MIGRATE_TOMBSTONE_MS, FLOW_TOMBSTONE_MS);
	assert_says("hold %d s", MIGRATE_HOLD_MAX_MS / 1000);
	assert_says("half-open %d s", PEER_HALF_OPEN_MS / 1000);
	assert_says("cookie %d to %d min", COOKIE_SECRET_LIFE_MS / 60000,
		    2 * COOKIE_SECRET_LIFE_MS / 60000);
	assert_says("rekey %d min", PEER_REKEY_MS / 60000);
	assert_true(PEER_REKEY_COUNT == (uint64_t)1 << 32);
	assert_true(PEER_COUNTER_LIMIT == (uint64_t)1 << 60);
	assert_says("old session %d s", PEER_OLD_SESSION_MS / 1000);
	assert_says("validation %d s", CLAIM_FRESH_MS / 1000);
	assert_says("release %d s", CLAIM_RELEASE_MS / 1000);
	assert_says("backoff of %d s, doubling to %d s",
		    PEER_BACKOFF_MIN_MS / 1000, PEER_BACKOFF_MAX_MS / 1000);
	assert_says("the same bytes up to %d times and for 5 s", FIN_TRIES);
	assert_says("a copy of its RESP, %d copies at most", RESP_COPIES_MAX);
	assert_says("has seen none after %d s asks again", ASKED_MS / 1000);
	assert_says("waits %d to %d s for the other", PEER_YIELD_MS / 1000,
		    (PEER_YIELD_MS + PEER_YIELD_JITTER_MS) / 1000);
	assert_says("more than %d INITs in a second, or %d half-open",
		    PEER_LOAD_RATE, PEER_LOAD_HALF_OPEN);
	assert_says("used up %d handshakes", PEER_SOURCE_BURST);
	assert_says("for %d s; at most %d of them", PEER_HALF_OPEN_MS / 1000,
		    PEER_HALF_OPEN_MAX);
	assert_says("valid for %d s after that", PEER_VALID_MS / 1000);
	assert_says("sent again every %d s", PEER_RENEW_MS / 1000);
	assert_says("renewal %d s", PEER_RENEW_MS / 1000);
	assert_says("no more than %d bytes of it are owed", PEER_CREDIT_MAX);
	assert_says("at most %d bytes, are repeated by PTO, and for each "
		    "address there are %d of them (8 steps of three "
		    "exchanges), then one in %d s",
		    PEER_OWN_SIZE, PEER_OWN_BURST, PEER_OWN_REFILL_MS / 1000);
	assert_says("leaves %d of these behind",
		    PEER_OWN_RESERVE);
	assert_says("PROBE is sent by PTO, up to %d times.", PEER_PROBE_TRIES);
	assert_says("doubling to %d s, %d times; then the session",
		    MIGRATE_BACKOFF_MAX_MS / 1000, CLAIM_TRIES);
	assert_says("2 PTO + %d ms, doubling", CLAIM_ANSWER_MS);
	assert_says("no sooner than %d min later", CLAIM_PROXY_MS / 60000);
	assert_says("%d offers and requests under way", CLAIM_WINDOW);
	assert_says("%d tries at once, then %d per second", CLAIM_TOKENS,
		    1000 / CLAIM_TOKEN_MS);
	assert_says("and for %d s after", CLAIM_LATE_MS / 1000);
	assert_says("only when it was said for %d s", CLAIM_UNKNOWN_MS / 1000);
	assert_int_equal(CLAIM_NONCES, 3);
	assert_says("Three tries without an answer");
	assert_says("at most %d times; copies within %d ms",
		    MIGRATE_ACCEPT_REPEATS_MAX, MIGRATE_COPY_MS);
	assert_says("within %d s after DONE of the committed one",
		    MIGRATE_TRY_MAX_MS / 1000);
	assert_says("to the socket for %d s after that",
		    MIGRATE_PTO_MAX_MS / 1000);
	assert_says("of the track for %d s after ACCEPT",
		    MIGRATE_TRY_MAX_MS / 1000);
	assert_says("Of each number %d are looked at",
		    MIGRATE_ACCEPT_REPEATS_MAX);
}

/* Of each row of the tables from `head` to `end`: does it say how the other
 * end may rely on it? */
static void assert_rows(const char *raw, const char *head, const char *end,
			bool bound)
{
	const char *at = strstr(raw, head), *stop, *next;
	int rows = 0;

	assert_non_null(at);
	stop = strstr(at, end);
	assert_non_null(stop);
	for (at = strchr(at, '\n') + 1; at < stop; at = next) {
		char row[512];

		next = strchr(at, '\n') + 1;
		while (next < stop && *next == ' ')
			next = strchr(next, '\n') + 1;
		if (*at == '.')
			continue;
		assert_true((size_t)(next - at) < sizeof row);
		snprintf(row, sizeof row, "%.*s", (int)(next - at), at);
		rows++;
		if ((strstr(row, "at least") || strstr(row, "at most") ||
		     strstr(row, "exactly")) != bound)
			fail_msg("of the wrong kind: %s", row);
	}
	assert_true(rows > 10);
}

static void limits_are_of_one_kind(void **state)
{
	const char *raw = read_raw("sacip.7");

	(void)state;
	assert_non_null(raw);
	assert_rows(raw, ".Ss What the other end relies on",
		    ".Ss A host's own affair", true);
	assert_rows(raw, ".Ss A host's own affair", "They run on a clock",
		    false);
}

static void assert_shows(const uint8_t *bytes, size_t len)
{
	char text[2 * PEER_OWN_SIZE + 1];

	assert_in_range(len, 1, PEER_OWN_SIZE);
	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	if (!strstr(example, text))
		fail_msg("the example does not show %s", text);
}

static void example_is_right(void **state)
{
	const struct wire_header h = { WIRE_PROBE, SETUP_INDEX_I, 0 };
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE], plain[64], probe[128];
	char fingerprint[CRYPTO_FINGERPRINT_SIZE];
	struct noise_keys keys;
	struct wire_message m;
	struct buf_writer w;
	struct setup s;
	size_t len;

	(void)state;
	setup_make(&s);
	assert_shows(s.key[0].public_key, 32);
	assert_shows(s.key[1].public_key, 32);
	assert_shows(s.init, sizeof s.init);
	assert_shows(s.asked.hash, sizeof s.asked.hash);
	assert_shows(s.resp, sizeof s.resp);
	assert_shows(s.fin, sizeof s.fin);
	assert_int_equal(noise_fin_consume(&s.answered,
					   s.fin + WIRE_HEADER_SIZE,
					   WIRE_NOISE_FIN_SIZE, payload,
					   sizeof payload, &len),
			 NOISE_OK);
	assert_int_equal(noise_split(&s.answered, &keys), NOISE_OK);
	assert_shows(keys.send, 32);
	assert_shows(keys.receive, 32);
	assert_shows(keys.hash, sizeof keys.hash);

	memset(&m, 0, sizeof m);
	m.type = WIRE_PROBE;
	assert_int_equal(addr_parse("192.0.2.9", &m.src.addr), 0);
	assert_int_equal(addr_parse("192.0.2.1", &m.dst.addr), 0);
	m.src.port = m.dst.port = 1021;
	for (size_t i = 0; i < sizeof m.probe.token; i++)
		m.probe.token[i] = (uint8_t)i;
	buf_writer_init(&w, plain, sizeof plain);
	assert_int_equal(wire_encode_message(&m, &w), 0);
	wire_encode_header(&h, probe);
	crypto_seal(keys.send, 0, probe, WIRE_HEADER_SIZE, plain, w.len,
		    probe + WIRE_HEADER_SIZE);
	assert_shows(probe, WIRE_HEADER_SIZE + w.len + CRYPTO_TAG_SIZE);
	crypto_fingerprint(s.key[1].public_key, fingerprint);
	assert_non_null(strstr(example, fingerprint));
}

/* The ends of the example's session, after its PROBE. */
struct end {
	uint8_t key[CRYPTO_KEY_SIZE];
	uint32_t theirs; /* index */
	uint64_t counter;
};

/* The example shows that message's body and, padded to `size`, its datagram. */
static void assert_shows_message(struct end *from, struct wire_message *m,
				 const char *src, const char *dst, size_t size)
{
	struct wire_header h = { m->type, from->theirs, from->counter++ };
	uint8_t plain[WIRE_PLAIN_MAX], out[WIRE_PAYLOAD_MAX];
	struct buf_writer w;

	assert_int_equal(addr_parse(src, &m->src.addr), 0);
	assert_int_equal(addr_parse(dst, &m->dst.addr), 0);
	m->src.port = m->dst.port = 1021;
	buf_writer_init(&w, plain, sizeof plain);
	assert_int_equal(wire_encode_message(m, &w), 0);
	assert_shows(plain + WIRE_PATH_SIZE, w.len - WIRE_PATH_SIZE);
	if (size)
		assert_int_equal(wire_pad(&w, size - WIRE_HEADER_SIZE -
						      CRYPTO_TAG_SIZE), 0);
	wire_encode_header(&h, out);
	crypto_seal(from->key, h.counter, out, WIRE_HEADER_SIZE, plain, w.len,
		    out + WIRE_HEADER_SIZE);
	assert_shows(out, WIRE_HEADER_SIZE + w.len + CRYPTO_TAG_SIZE);
}

static void example_ends(struct end *i, struct end *r)
{
	uint8_t payload[WIRE_HS_PAYLOAD_SIZE];
	struct noise_keys keys;
	struct setup s;
	size_t len;

	setup_make(&s);
	assert_int_equal(noise_fin_consume(&s.answered,
					   s.fin + WIRE_HEADER_SIZE,
					   WIRE_NOISE_FIN_SIZE, payload,
					   sizeof payload, &len),
			 NOISE_OK);
	assert_int_equal(noise_split(&s.answered, &keys), NOISE_OK);
	*i = (struct end){ .theirs = SETUP_INDEX_R };
	*r = (struct end){ .theirs = SETUP_INDEX_I, .counter = 1 };
	memcpy(i->key, keys.receive, sizeof i->key);
	memcpy(r->key, keys.send, sizeof r->key);
}

#define FLOW_ID 0x0102030405060708

static void naming_is_as_shown(struct end *i, struct end *r)
{
	struct wire_message m;

	memset(&m, 0, sizeof m);
	m.type = WIRE_FLOWS;
	m.flows.batch = 8;
	m.flows.parts = m.flows.n = 1;
	m.flows.flow[0].flow_id = FLOW_ID;
	m.flows.flow[0].place.track = 5;
	m.flows.flow[0].proto = IPPROTO_TCP;
	assert_int_equal(addr_parse("192.0.2.1", &m.flows.flow[0].src.addr), 0);
	assert_int_equal(addr_parse("192.0.2.9", &m.flows.flow[0].dst.addr), 0);
	m.flows.flow[0].place.at = m.flows.flow[0].src.addr;
	m.flows.flow[0].src.port = 50000;
	m.flows.flow[0].dst.port = 22;
	assert_shows_message(i, &m, "192.0.2.1", "192.0.2.9", 0);

	memset(&m, 0, sizeof m);
	m.type = WIRE_FLOWS_ACK;
	m.flows_ack.batch = 8;
	m.flows_ack.parts = m.flows_ack.n = 1;
	m.flows_ack.flow[0].flow_id = FLOW_ID;
	m.flows_ack.flow[0].place.track = 9;
	assert_int_equal(addr_parse("192.0.2.9", &m.flows_ack.flow[0].place.at),
			 0);
	assert_shows_message(r, &m, "192.0.2.9", "192.0.2.1", 0);
}

static void move_is_as_shown(struct end *i)
{
	struct claim_digest digest = { 0 };
	struct wire_message m;

	memset(&m, 0, sizeof m);
	m.type = WIRE_MOVE;
	m.move.track = 5;
	m.move.seq = 1;
	assert_int_equal(addr_parse("192.0.2.1", &m.move.from), 0);
	assert_int_equal(addr_parse("192.0.2.7", &m.move.to), 0);
	m.move.flags = WIRE_MOVE_FROM_GONE;
	claim_digest_add(&digest, FLOW_ID);
	m.move.count = digest.count;
	memcpy(m.move.digest, digest.sum, sizeof m.move.digest);
	m.move.parts = m.move.n = 1;
	m.move.port[0].flow_id = FLOW_ID;
	m.move.port[0].port = 50001;
	assert_shows_message(i, &m, "192.0.2.7", "192.0.2.9", PEER_OWN_SIZE);
}

static void answers_are_as_shown(struct end *i, struct end *r,
				 const uint8_t challenge[WIRE_CHALLENGE_SIZE])
{
	struct wire_message m;

	memset(&m, 0, sizeof m);
	m.type = WIRE_ACCEPT;
	m.accept.track = 5;
	m.accept.seq = 1;
	memcpy(m.accept.challenge, challenge, WIRE_CHALLENGE_SIZE);
	m.accept.lease_s = MIGRATE_LEASE_MS / 1000;
	assert_shows_message(r, &m, "192.0.2.9", "192.0.2.7", 160);

	memset(&m, 0, sizeof m);
	m.type = WIRE_PROVE;
	m.prove.track = 5;
	m.prove.seq = 1;
	memcpy(m.prove.challenge, challenge, WIRE_CHALLENGE_SIZE);
	assert_int_equal(addr_parse("192.0.2.7", &m.prove.to), 0);
	m.prove.n = 1;
	m.prove.flow[0].flow_id = FLOW_ID;
	m.prove.flow[0].rcv_nxt = 0x55667788;
	assert_shows_message(i, &m, "192.0.2.7", "192.0.2.9", 0);

	memset(&m, 0, sizeof m);
	m.type = WIRE_DONE;
	m.done.track = 5;
	m.done.seq = 1;
	assert_shows_message(r, &m, "192.0.2.9", "192.0.2.7", 0);
}

static void nonces_are_as_shown(const uint8_t challenge[WIRE_CHALLENGE_SIZE])
{
	const struct nonce_about from_m = { NONCE_FROM_MOVER, 5, 1, FLOW_ID };
	const struct nonce_about from_p = { NONCE_FROM_PEER, 5, 1, FLOW_ID };
	struct nonce_numbers n = { .seq = 0x01020304, .ack = 0x05060708,
				   .tsval = 0x11223344, .tsecr = 0x55667788,
				   .stamped = true };
	const struct nonce_numbers none = { 0 };
	struct tuple t = { .local.port = 50001, .remote.port = 22,
			   .proto = IPPROTO_TCP };
	uint8_t mac[NONCE_MAC_SIZE], packet[NONCE_PACKET_MAX];

	nonce_mac(challenge, &from_p, &none, mac);
	assert_shows(mac, sizeof mac);
	nonce_mac(challenge, &from_m, &n, mac);
	assert_shows(mac, sizeof mac);
	assert_int_equal(addr_parse("192.0.2.7", &t.local.addr), 0);
	assert_int_equal(addr_parse("192.0.2.9", &t.remote.addr), 0);
	assert_int_equal(nonce_build(&t, &n, mac, packet, sizeof packet),
			 40 + 32);
	assert_shows(packet + 40, 32);
	n.stamped = false;
	nonce_mac(challenge, &from_m, &n, mac);
	assert_int_equal(nonce_build(&t, &n, mac, packet, sizeof packet),
			 40 + 24);
	assert_shows(packet + 40, 24);
}

static void handover_is_as_shown(void **state)
{
	uint8_t challenge[WIRE_CHALLENGE_SIZE];
	struct end i, r;

	(void)state;
	for (size_t n = 0; n < sizeof challenge; n++)
		challenge[n] = (uint8_t)(0x10 + n);
	example_ends(&i, &r);
	naming_is_as_shown(&i, &r);
	move_is_as_shown(&i);
	answers_are_as_shown(&i, &r, challenge);
	nonces_are_as_shown(challenge);
}

static void flows_are_as_shown(void **state)
{
	uint8_t plain[WIRE_PLAIN_MAX], nonce[WIRE_NONCE_SIZE];
	uint8_t answer[NONCE_ANSWER_SIZE];
	struct wire_message m;
	struct wire_flow *f = &m.flows.flow[0];
	struct nonce_ends ends;
	struct buf_writer w;
	struct setup s;

	(void)state;
	setup_make(&s);
	memcpy(ends.offers, s.key[0].public_key, sizeof ends.offers);
	memcpy(ends.answers, s.key[1].public_key, sizeof ends.answers);
	memset(&m, 0, sizeof m);
	m.type = WIRE_FLOWS;
	m.flows.batch = 7;
	m.flows.parts = m.flows.n = 1;
	f->flow_id = 0x0102030405060708;
	f->place.track = 5;
	f->place.seq = 258;
	f->place.ports = true;
	f->proto = IPPROTO_TCP;
	assert_int_equal(addr_parse("192.0.2.7", &f->place.at), 0);
	assert_int_equal(addr_parse("192.0.2.1", &f->src.addr), 0);
	assert_int_equal(addr_parse("192.0.2.9", &f->dst.addr), 0);
	f->src.port = 50000;
	f->dst.port = 22;
	f->proof.kind = WIRE_PROOF_TAG;
	for (size_t i = 0; i < sizeof f->proof.nonce; i++)
		nonce[i] = (uint8_t)(0x10 + i);
	nonce_tag(&ends, nonce, f->proof.nonce);
	m.src = f->src;
	m.dst = f->dst;
	buf_writer_init(&w, plain, sizeof plain);
	assert_int_equal(wire_encode_message(&m, &w), 0);
	assert_shows(plain + WIRE_PATH_SIZE, w.len - WIRE_PATH_SIZE);
	nonce_answer(&ends, nonce, answer);
	assert_shows(answer, sizeof answer);
}

/* Each is there, and no other. */
static void counters_are_explained(void **state)
{
	const char *raw = read_raw("sacipctl.1");
	const char *at = raw ? strstr(raw, "\n.Sh COUNTERS") : NULL;
	const char *end = at ? strstr(at + 1, "\n.Sh ") : NULL;
	int items = 0;

	(void)state;
	assert_non_null(end);
	for (int i = 0; i < COUNTER_MAX; i++) {
		const char *name = counter_name((enum counter_id)i);
		const char *found;
		char item[80];

		snprintf(item, sizeof item, "\n.It Ql %s\n", name);
		found = strstr(at, item);
		if (!found || found > end)
			fail_msg("sacipctl(1), COUNTERS, lacks %s", name);
	}
	while ((at = strstr(at + 1, "\n.It Ql ")) && at < end)
		items++;
	assert_int_equal(items, COUNTER_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types_are_registered),
		cmocka_unit_test(reasons_are_registered),
		cmocka_unit_test(sizes_and_bounds_are_right),
		cmocka_unit_test(timers_are_right),
		cmocka_unit_test(limits_are_of_one_kind),
		cmocka_unit_test(example_is_right),
		cmocka_unit_test(handover_is_as_shown),
		cmocka_unit_test(flows_are_as_shown),
		cmocka_unit_test(counters_are_explained),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("manual", tests, read_page, NULL);
}
