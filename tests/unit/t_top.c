/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * top: what two samples make known, and how it is shown.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "top.h"

#define HEADING \
	"  ID PROTO STATE     PATH   IN PKT/S IN B/S OUT PKT/S OUT B/S MOVES" \
	" GAP MS\n"

static const struct top_form plain = { .line_end = "\n", .frame_end = "" };

static struct ctl_flow flow(uint64_t id, enum ctl_flow_state state)
{
	struct ctl_flow f;

	memset(&f, 0, sizeof(f));
	f.id = id;
	f.state = state;
	f.gap_ms = CTL_GAP_NONE;
	f.identity.proto = IPPROTO_TCP;
	addr_parse("192.0.2.1", &f.identity.local.addr);
	addr_parse("192.0.2.2", &f.identity.remote.addr);
	f.wire = f.identity;
	if (state != CTL_TRACKED)
		strcpy(f.peer, "B2:one");
	if (state == CTL_MOVED) {
		f.wire.local.port = 9;
		f.path = CTL_PATH_QUEUE;
		f.moves = 1;
		f.gap_ms = 0;
	}
	return f;
}

static void count(struct ctl_flow *f, uint64_t packets, uint64_t bytes)
{
	struct ctl_traffic *t = f->path == CTL_PATH_KERNEL ? &f->kernel :
							     &f->queue;

	t->packets_in = packets;
	t->bytes_in = bytes;
	t->packets_out = 2 * packets;
	t->bytes_out = 2 * bytes;
}

static char *printed(const struct top_sample *s, const struct top_totals *t,
		     const struct top_form *form)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	if (form)
		top_print(f, s, t, form);
	else
		top_print_json(f, s, t, 1000);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void assert_printed(const struct top_sample *s,
			   const struct top_totals *t,
			   const struct top_form *form, const char *want)
{
	char *text = printed(s, t, form);

	assert_string_equal(text, want);
	free(text);
}

/* Rates come from counters and time; the fastest stands first. */
static void rates_are_what_was_counted_between(void **state)
{
	struct top_sample before = { .n = 0 }, after = { .n = 0 };
	struct ctl_flow slow = flow(3, CTL_MOVED), fast = flow(12, CTL_MOVED);
	struct ctl_flow plain_one = flow(7, CTL_PROTECTED);
	struct ctl_flow alone = flow(5, CTL_TRACKED);
	struct top_totals t;

	(void)state;
	fast.identity.proto = IPPROTO_UDP;
	fast.wire.proto = IPPROTO_UDP;
	fast.path = CTL_PATH_KERNEL;
	fast.counted = true;
	fast.moves = 3;
	fast.gap_ms = 17;
	strcpy(fast.peer, "B2:two");
	fast.held_packets = 4;
	top_sample_begin(&before, 5000);
	count(&slow, 100, 5000);
	count(&fast, 1000000, 1000000000);
	assert_int_equal(top_sample_add(&before, &slow), 0);
	assert_int_equal(top_sample_add(&before, &plain_one), 0);
	assert_int_equal(top_sample_add(&before, &fast), 0);
	top_sample_begin(&after, 7000);
	count(&slow, 101, 5100);
	count(&fast, 1024690, 1037035000);
	assert_int_equal(top_sample_add(&after, &slow), 0);
	assert_int_equal(top_sample_add(&after, &alone), 0);
	assert_int_equal(top_sample_add(&after, &plain_one), 0);
	assert_int_equal(top_sample_add(&after, &fast), 0);
	top_compare(&before, &after, &t);
	assert_printed(
		&after, &t, &plain,
		"4 flows: 1 tracked, 1 protected, 0 moving, 2 moved\n"
		"2 peers, 4 moves, 4 packets held, 37.0k packets/s and 55.6M"
		" bytes/s rewritten\n"
		HEADING
		"  12 udp   moved     kernel    12.3k  18.5M     24.7k   37.0M"
		"     3     17\n"
		"   3 tcp   moved     queue       0.5   50.0       1.0     100"
		"     1      0\n"
		"   5 tcp   tracked   direct        -      -         -       -"
		"     0      -\n"
		"   7 tcp   protected direct        -      -         -       -"
		"     0      -\n");
	top_sample_free(&before);
	top_sample_free(&after);
}

/* "-" is not 0: a first look, a flow that is new, another daemon. */
static void what_is_not_known_is_no_rate(void **state)
{
	struct top_sample before = { .n = 0 }, after = { .n = 0 };
	struct ctl_flow f = flow(1, CTL_MOVED);
	struct top_totals t;

	(void)state;
	count(&f, 10, 1000);
	top_sample_begin(&after, 1000);
	top_sample_add(&after, &f);
	top_compare(NULL, &after, &t);
	assert_true(after.row[0].rate[TOP_BYTES_IN] < 0);
	assert_true(t.rate[TOP_BYTES_IN] < 0);
	top_sample_begin(&before, 0); /* it knew nobody */
	top_compare(&before, &after, &t);
	assert_true(after.row[0].rate[TOP_BYTES_IN] < 0);
	top_sample_add(&before, &f);
	top_compare(&before, &after, &t); /* nothing came */
	assert_true(after.row[0].rate[TOP_BYTES_IN] == 0);
	assert_true(t.rate[TOP_BYTES_IN] == 0);
	f.queue.bytes_out--;
	top_sample_begin(&after, 1000);
	top_sample_add(&after, &f);
	top_compare(&before, &after, &t); /* counted from 0 again */
	for (int i = 0; i < TOP_RATES; i++)
		assert_true(after.row[0].rate[i] < 0);
	top_sample_begin(&after, 0); /* no time went by */
	f.queue.bytes_out += 2;
	top_sample_add(&after, &f);
	top_compare(&before, &after, &t);
	assert_true(after.row[0].rate[TOP_BYTES_IN] < 0);
	/* A kernel that does not count, and one that was asked just now. */
	f.path = CTL_PATH_KERNEL;
	top_sample_begin(&before, 0);
	top_sample_add(&before, &f);
	top_sample_begin(&after, 1000);
	top_sample_add(&after, &f);
	top_compare(&before, &after, &t);
	assert_true(after.row[0].rate[TOP_BYTES_IN] < 0);
	f.counted = true;
	count(&f, 1000000, 1000000);
	top_sample_begin(&after, 1000);
	top_sample_add(&after, &f);
	top_compare(&before, &after, &t);
	assert_true(after.row[0].rate[TOP_BYTES_IN] < 0);
	top_sample_begin(&before, 0);
	top_sample_add(&before, &f);
	top_compare(&before, &after, &t);
	assert_true(after.row[0].rate[TOP_BYTES_IN] == 0);
	top_sample_free(&before);
	top_sample_free(&after);
}

/* Every line within the width, all of them within the height. */
static void it_fits_the_terminal(void **state)
{
	struct top_sample s = { .n = 0 };
	struct top_totals t;
	struct top_form form = {
		.width = 80,
		.height = 23,
		.colour = true,
		.line_end = "\033[K\r\n",
		.frame_end = "\033[J",
	};
	unsigned int lines = 0;
	struct ctl_flow f;
	char *text, *at;

	(void)state;
	for (uint64_t id = 1; id <= 100000; id++) {
		f = flow(id, CTL_MOVED);
		f.gap_ms = 123456;
		f.moves = 10000;
		assert_int_equal(top_sample_add(&s, &f), 0);
	}
	top_compare(NULL, &s, &t);
	text = printed(&s, &t, &form);
	for (at = text; (at = strstr(at, form.line_end)); at++)
		lines++;
	assert_int_equal(lines, form.height);
	assert_non_null(strstr(text, "\033[7m    ID PROTO"));
	assert_non_null(strstr(text, "\n       and 99981 more\033[K\r\n\033[J"));
	assert_non_null(strstr(text, "\n     1 tcp   moved     queue "));
	free(text);
	/* Wide: nothing is cut that 80 columns would cut. */
	form.width = 200;
	form.height = 5;
	form.line_end = "\n";
	form.frame_end = "";
	form.colour = false;
	text = printed(&s, &t, &form);
	at = strstr(text, "MOVES GAP MS\n");
	assert_non_null(at);
	at += strlen("MOVES GAP MS\n");
	assert_true(strcspn(at, "\n") <= 80);
	free(text);
	form.width = 20;
	text = printed(&s, &t, &form);
	for (at = text; *at; at += strcspn(at, "\n") + 1)
		assert_true(strcspn(at, "\n") <= 20);
	free(text);
	/* No room for a row at all. */
	form.height = 1;
	text = printed(&s, &t, &form);
	assert_null(strstr(text, "more"));
	free(text);
	top_sample_free(&s);
}

static void json_tells_the_same(void **state)
{
	struct top_sample before = { .n = 0 }, after = { .n = 0 };
	struct ctl_flow f = flow(1, CTL_MOVED), g = flow(2, CTL_PROTECTED);
	struct top_totals t;

	(void)state;
	top_compare(NULL, &after, &t);
	assert_printed(&after, &t, NULL,
		       "{\n \"interval_ms\": 1000,\n \"flows\": {\"tracked\": 0,"
		       " \"protected\": 0, \"moving\": 0, \"moved\": 0},\n"
		       " \"peers\": 0,\n \"moves\": 0,\n \"held_packets\": 0,"
		       " \"in\": null, \"out\": null,\n \"rows\": []\n}\n");
	top_sample_add(&before, &f);
	count(&f, 5, 500);
	top_sample_begin(&after, 1000);
	top_sample_add(&after, &f);
	top_sample_add(&after, &g);
	top_compare(&before, &after, &t);
	assert_printed(
		&after, &t, NULL,
		"{\n \"interval_ms\": 1000,\n \"flows\": {\"tracked\": 0,"
		" \"protected\": 1, \"moving\": 0, \"moved\": 1},\n"
		" \"peers\": 1,\n \"moves\": 1,\n \"held_packets\": 0,"
		" \"in\": {\"packets_per_s\": 5.000, \"bytes_per_s\":"
		" 500.000}, \"out\": {\"packets_per_s\": 10.000,"
		" \"bytes_per_s\": 1000.000},\n \"rows\": [\n"
		"  {\"id\": \"1\", \"proto\": \"tcp\", \"state\": \"moved\","
		" \"path\": \"queue\", \"in\": {\"packets_per_s\": 5.000,"
		" \"bytes_per_s\": 500.000}, \"out\": {\"packets_per_s\":"
		" 10.000, \"bytes_per_s\": 1000.000}, \"moves\": 1,"
		" \"gap_ms\": 0},\n"
		"  {\"id\": \"2\", \"proto\": \"tcp\", \"state\":"
		" \"protected\", \"path\": \"direct\", \"in\": null, \"out\": null,"
		" \"moves\": 0, \"gap_ms\": null}\n ]\n}\n");
	top_sample_free(&before);
	top_sample_free(&after);
}

static void samples_are_bounded(void **state)
{
	struct top_sample s = { .n = 0 };
	struct ctl_flow f = flow(1, CTL_TRACKED);

	(void)state;
	for (uint32_t i = 0; i < TOP_FLOWS_MAX; i++)
		if (top_sample_add(&s, &f))
			fail_msg("refused at %u", i);
	assert_int_equal(top_sample_add(&s, &f), -ENOSPC);
	assert_int_equal(s.n, TOP_FLOWS_MAX);
	top_sample_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_are_what_was_counted_between),
		cmocka_unit_test(what_is_not_known_is_no_rate),
		cmocka_unit_test(it_fits_the_terminal),
		cmocka_unit_test(json_tells_the_same),
		cmocka_unit_test(samples_are_bounded),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("top", tests, NULL, NULL);
}
