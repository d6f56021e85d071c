/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pktq: one queue of the kernel's, its owner, its bounds and its verdicts.
 * Whether traffic survives is t_translate's question.
 */
#include "host.h"

#include <linux/netfilter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "pkt.h"
#include "pktq.h"

#define QUEUE 20
#define PORT 5500
#define MARK 0x99
#define SEEN_MAX 64
#define NOBODY 65534
#define SEGMENT 100
#define REFUSED 40 /* more than one read brings */

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

/* What came, without a verdict yet. */
struct seen {
	unsigned int n;
	struct pktq_packet packet[SEEN_MAX]; /* data is gone */
	enum pkt_result result[SEEN_MAX];
};

struct fixture {
	struct pktq *q;
	struct seen seen;
	int at_a, at_b; /* connected UDP */
};

static struct fixture fixture = { .at_a = -1, .at_b = -1 };

static void note(void *ctx, struct pktq *q, struct pktq_packet *p)
{
	struct seen *s = ctx;
	struct pkt k;

	(void)q;
	assert_true(s->n < SEEN_MAX);
	s->result[s->n] = pkt_parse(p->data, p->len, &k);
	s->packet[s->n] = *p;
	s->packet[s->n++].data = NULL;
}

static int queue_try(uint32_t maxlen, struct pktq **q, struct seen *seen)
{
	const struct pktq_config config = {
		.number = QUEUE,
		.maxlen = maxlen,
		.packet_cb = note,
		.ctx = seen,
	};

	return pktq_open(&config, q);
}

static void fixture_close(struct fixture *f)
{
	pktq_close(f->q);
	if (f->at_a >= 0)
		close(f->at_a);
	if (f->at_b >= 0)
		close(f->at_b);
	*f = (struct fixture){ .at_a = -1, .at_b = -1 };
}

/* A queue in host a for what it sends to PORT on b; false where it cannot be
 * had. What a failed test left behind is closed first. */
static bool fixture_open(struct fixture *f, const struct hosts *h,
			 uint32_t maxlen)
{
	struct endpoint to;

	fixture_close(f);
	host_run("nft flush ruleset");
	if (host_try("iptables-nft -t mangle -A OUTPUT -p udp --dport %d "
		     "-j NFQUEUE --queue-num %d 2>/dev/null", PORT, QUEUE))
		return false;
	assert_int_equal(queue_try(maxlen, &f->q, &f->seen), 0);
	host_enter(h->b);
	f->at_b = host_bind(HOST_B4, PORT, SOCK_DGRAM);
	to = host_name(f->at_b, false);
	host_enter(h->a);
	f->at_a = host_bind(HOST_A4, 0, SOCK_DGRAM);
	host_connect(f->at_a, &to);
	return true;
}

#define FIXTURE(h, maxlen)                                              \
	do {                                                            \
		if (!fixture_open(&fixture, h, maxlen))                 \
			SKIP_BECAUSE("no NFQUEUE target in iptables");  \
	} while (0)

static void send_all(const char *text)
{
	for (; *text; text++)
		assert_int_equal(send(fixture.at_a, text, 1, 0), 1);
}

/* Reads until `n` have come in all; they are in the socket already. */
static void read_until(unsigned int n)
{
	while (fixture.seen.n < n)
		assert_true(pktq_read(fixture.q) > 0);
	assert_int_equal(fixture.seen.n, n);
}

/* Host b receives exactly these, then nothing. */
static void expect(const char *text)
{
	char c;

	for (; *text; text++) {
		assert_true(host_readable(fixture.at_b, HOST_WAIT_MS));
		assert_int_equal(recv(fixture.at_b, &c, 1, 0), 1);
		assert_int_equal(c, *text);
	}
	assert_int_equal(recv(fixture.at_b, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static struct pktq_stats stats_of(uint16_t number)
{
	struct pktq_stats stats;

	assert_int_equal(pktq_stats(number, &stats), 0);
	return stats;
}

static void tells_all_about_a_packet(void **state)
{
	const struct hosts *h = HOSTS(state);
	const int mark = 0x1234;
	const struct pktq_packet *p = &fixture.seen.packet[0];

	FIXTURE(h, 0);
	assert_int_equal(setsockopt(fixture.at_a, SOL_SOCKET, SO_MARK, &mark,
				    sizeof(mark)), 0);
	send_all("x");
	read_until(1);
	assert_int_equal(p->hook, NF_INET_LOCAL_OUT);
	assert_int_equal(p->mark, mark);
	assert_int_equal(p->in_ifindex, 0);
	assert_int_equal(p->out_ifindex, if_nametoindex("va"));
	assert_int_equal(p->len, 29);
	assert_int_equal(p->full_len, 29);
	assert_false(p->gso);
	assert_int_equal(fixture.seen.result[0], PKT_OK);
	assert_int_equal(pktq_number(fixture.q), QUEUE);
	assert_int_equal(pktq_accept(fixture.q, p->id, NULL), 0);
	assert_int_equal(pktq_flush(fixture.q), 0);
	expect("x");
	assert_int_equal(pktq_read(fixture.q), 0);
	assert_int_equal(pktq_counters(fixture.q)->packets, 1);
	assert_int_equal(pktq_counters(fixture.q)->bytes, 29);
	assert_int_equal(pktq_counters(fixture.q)->verdicts, 1);
}

static void takes_verdicts_in_any_order(void **state)
{
	const struct hosts *h = HOSTS(state);
	const struct pktq_packet *p = fixture.seen.packet;

	FIXTURE(h, 0);
	send_all("abcde");
	read_until(5);
	assert_int_equal(stats_of(QUEUE).waiting, 5);
	pktq_accept(fixture.q, p[4].id, NULL);
	pktq_drop(fixture.q, p[1].id);
	pktq_accept(fixture.q, p[0].id, NULL);
	assert_int_equal(pktq_flush(fixture.q), 0);
	expect("ea");
	assert_int_equal(stats_of(QUEUE).waiting, 2);
	pktq_accept(fixture.q, p[3].id, NULL);
	pktq_accept(fixture.q, p[2].id, NULL);
	assert_int_equal(pktq_flush(fixture.q), 0);
	expect("dc");
	assert_int_equal(stats_of(QUEUE).waiting, 0);
}

/* More than is collected before an early flush. */
static void sends_any_number_of_verdicts(void **state)
{
	const struct hosts *h = HOSTS(state);

	FIXTURE(h, 0);
	for (int round = 0; round < 4; round++) {
		unsigned int first = fixture.seen.n;

		send_all("0123456789abcdef");
		read_until(first + 16);
	}
	for (int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < SEEN_MAX; i++)
			pktq_drop(fixture.q, fixture.seen.packet[i].id);
	}
	assert_int_equal(pktq_flush(fixture.q), 0);
	assert_int_equal(stats_of(QUEUE).waiting, 0);
	/* The second round named packets that are gone. */
	assert_int_equal(pktq_read(fixture.q), 0);
	while (pktq_counters(fixture.q)->refused < SEEN_MAX)
		assert_int_equal(pktq_read(fixture.q), 0);
	assert_int_equal(pktq_counters(fixture.q)->verdicts, 2 * SEEN_MAX);
	expect("");
}

static void sets_marks(void **state)
{
	const struct hosts *h = HOSTS(state);
	const struct pktq_packet *p = fixture.seen.packet;
	const uint32_t mark = MARK, other = MARK + 1;
	static uint8_t payload[29];

	FIXTURE(h, 0);
	host_run("iptables-nft -A OUTPUT -p udp -m mark ! --mark %d -j DROP",
		 MARK);
	send_all("abc");
	read_until(3);
	pktq_accept(fixture.q, p[0].id, NULL);
	pktq_accept(fixture.q, p[1].id, &mark);
	pktq_accept(fixture.q, p[2].id, &other);
	assert_int_equal(pktq_flush(fixture.q), 0);
	expect("b");
	assert_int_equal(pktq_accept_payload(fixture.q, p[0].id, payload,
					     70000, &mark), -EMSGSIZE);
}

static void keeps_to_its_length(void **state)
{
	const struct hosts *h = HOSTS(state);

	FIXTURE(h, 3);
	send_all("abc");
	/* A datagram that finds the queue full is lost as on a wire. */
	send_all("defg");
	assert_int_equal(stats_of(QUEUE).waiting, 3);
	assert_int_equal(stats_of(QUEUE).dropped_full, 4);
	assert_int_equal(stats_of(QUEUE).last_id, 3);
	read_until(3);
	for (unsigned int i = 0; i < 3; i++)
		pktq_accept(fixture.q, fixture.seen.packet[i].id, NULL);
	assert_int_equal(pktq_flush(fixture.q), 0);
	expect("abc");
	send_all("h");
	read_until(4);
}

static void counts_what_its_buffer_lost_and_goes_on(void **state)
{
	const struct hosts *h = HOSTS(state);
	const int small = 1;
	unsigned int kept;

	FIXTURE(h, 0);
	assert_int_equal(setsockopt(pktq_fd(fixture.q), SOL_SOCKET, SO_RCVBUF,
				    &small, sizeof(small)), 0);
	send_all("0123456789abcdefghijklmnopqrstuvwxyz");
	while (pktq_read(fixture.q) > 0)
		;
	kept = fixture.seen.n;
	assert_true(kept > 0 && kept < 36);
	assert_int_equal(pktq_counters(fixture.q)->overflows, 36 - kept);
	assert_int_equal(stats_of(QUEUE).dropped_user, 36 - kept);
	/* Not a word of it to the sockets, and the next one comes. */
	send_all("!");
	read_until(kept + 1);
	assert_int_equal(pktq_counters(fixture.q)->overflows, 36 - kept);
	pktq_accept(fixture.q, fixture.seen.packet[kept].id, NULL);
	pktq_flush(fixture.q);
	expect("!");
}

/* 65535 bytes with their headers: more than an attribute can carry. */
static void tells_what_it_could_not_carry(void **state)
{
	const struct hosts *h = HOSTS(state);
	static char data[65507];

	FIXTURE(h, 0);
	assert_int_equal(send(fixture.at_a, data, sizeof(data), 0),
			 sizeof(data));
	read_until(1);
	assert_int_equal(fixture.seen.packet[0].full_len, 65535);
	assert_int_equal(fixture.seen.packet[0].len, 65531);
	assert_int_equal(fixture.seen.result[0], PKT_LENGTH);
	assert_int_equal(pktq_counters(fixture.q)->truncated, 1);
	/* Untouched, it passes. */
	pktq_accept(fixture.q, fixture.seen.packet[0].id, NULL);
	pktq_flush(fixture.q);
	assert_true(host_readable(fixture.at_b, HOST_WAIT_MS));
	assert_int_equal(recv(fixture.at_b, data, sizeof(data), 0),
			 sizeof(data));
}

/* Three datagrams in one packet. */
static void send_train(char c)
{
	char data[3 * SEGMENT];

	memset(data, c, sizeof(data));
	assert_int_equal(send(fixture.at_a, data, sizeof(data), 0),
			 sizeof(data));
}

static void accept_from(unsigned int first)
{
	for (unsigned int i = first; i < fixture.seen.n; i++)
		pktq_accept(fixture.q, fixture.seen.packet[i].id, NULL);
	assert_int_equal(pktq_flush(fixture.q), 0);
}

/* What the kernel refuses of a super-packet's parts (their device has gone,
 * say) waits in the cutter before the next one's parts: more than one read. */
static void cuts_behind_what_was_refused(void **state)
{
	const struct hosts *h = HOSTS(state);
	const int segment = SEGMENT;

	FIXTURE(h, 0);
	if (setsockopt(fixture.at_a, IPPROTO_UDP, UDP_SEGMENT, &segment,
		       sizeof(segment)))
		SKIP_BECAUSE("the kernel has no UDP_SEGMENT");
	send_train('a');
	read_until(3);
	assert_int_equal(pktq_counters(fixture.q)->cut, 1);
	accept_from(0);
	expect("aaa");
	for (unsigned int i = 0; i < REFUSED; i++)
		pktq_accept(fixture.q, fixture.seen.packet[0].id, NULL);
	assert_int_equal(pktq_flush(fixture.q), 0);
	send_train('b');
	read_until(6);
	assert_int_equal(pktq_counters(fixture.q)->refused, REFUSED);
	accept_from(3);
	expect("bbb");
}

static void has_one_owner(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct pktq *second = NULL;
	struct seen none;

	FIXTURE(h, 0);
	assert_int_equal(queue_try(0, &second, &none), -EBUSY);
	assert_null(second);
	/* The first one is none the worse. */
	send_all("x");
	read_until(1);
	/* Another network namespace has its own. */
	host_enter(h->b);
	assert_int_equal(queue_try(0, &second, &none), 0);
	pktq_close(second);
	host_enter(h->a);
	/* Closed, it is free, and what waited is gone. */
	pktq_close(fixture.q);
	fixture.q = NULL;
	assert_int_equal(queue_try(0, &fixture.q, &fixture.seen), 0);
	assert_int_equal(stats_of(QUEUE).waiting, 0);
	assert_int_equal(pktq_read(fixture.q), 0);
	expect("");
}

/* No reader: nothing passes, and the sender sees no error. */
static void fails_closed_without_reader(void **state)
{
	const struct hosts *h = HOSTS(state);

	FIXTURE(h, 0);
	pktq_close(fixture.q);
	fixture.q = NULL;
	send_all("abc");
	expect("");
}

static void wants_its_capability(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct pktq *q = NULL;
	int status = -1;
	pid_t child;

	FIXTURE(h, 0);
	pktq_close(fixture.q);
	fixture.q = NULL;
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(setuid(NOBODY) == 0 &&
		      queue_try(0, &q, &fixture.seen) == -EPERM ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void refuses_bad_configuration(void **state)
{
	struct pktq_config config = { .number = QUEUE };
	struct pktq *q = NULL;

	HOSTS(state);
	assert_int_equal(pktq_open(&config, &q), -EINVAL);
	config.packet_cb = note;
	config.number = UINT16_MAX - 1; /* its cutter would be 65536 */
	assert_int_equal(pktq_open(&config, &q), -EINVAL);
	assert_null(q);
	pktq_close(NULL);
}

static void knows_who_reads(void **state)
{
	const struct hosts *h = HOSTS(state);
	struct pktq_stats stats;

	FIXTURE(h, 0);
	assert_true(stats_of(QUEUE).portid != 0);
	assert_int_equal(stats_of(QUEUE).last_id, 0);
	assert_true(stats_of(QUEUE + PKTQ_CUTTER_OFFSET).portid != 0);
	assert_int_equal(pktq_stats(QUEUE + 1, &stats), -ENOENT);
	fixture_close(&fixture);
	assert_int_equal(pktq_stats(QUEUE, &stats), -ENOENT);
}

static int teardown(void **state)
{
	fixture_close(&fixture);
	return hosts_close(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_all_about_a_packet),
		cmocka_unit_test(takes_verdicts_in_any_order),
		cmocka_unit_test(sends_any_number_of_verdicts),
		cmocka_unit_test(sets_marks),
		cmocka_unit_test(keeps_to_its_length),
		cmocka_unit_test(counts_what_its_buffer_lost_and_goes_on),
		cmocka_unit_test(tells_what_it_could_not_carry),
		cmocka_unit_test(cuts_behind_what_was_refused),
		cmocka_unit_test(has_one_owner),
		cmocka_unit_test(fails_closed_without_reader),
		cmocka_unit_test(wants_its_capability),
		cmocka_unit_test(refuses_bad_configuration),
		cmocka_unit_test(knows_who_reads),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, hosts_open, teardown);
}
