/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of log: form, levels, escaping and the limit on repetition. */
#include "../../src/log.c"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEXT_MAX 65536

struct world {
	int out, in; /* a pipe: what is written comes back at once */
	char text[TEXT_MAX];
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int fds[2];

	assert_non_null(w);
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	w->in = fds[0];
	w->out = fds[1];
	unsetenv("JOURNAL_STREAM");
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	close(w->in);
	close(w->out);
	free(w);
	unsetenv("JOURNAL_STREAM");
	return 0;
}

/* All that was written since the last call. */
static const char *read_text(struct world *w)
{
	ssize_t n = read(w->in, w->text, sizeof(w->text) - 1);

	w->text[n < 0 ? 0 : n] = '\0';
	return w->text;
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void lines_have_their_level(void **state)
{
	struct world *w = *state;
	struct log *log;

	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_INFO), 0);
	log_err(log, "no %s", "luck");
	assert_string_equal(read_text(w), "err: no luck\n");
	log_warn(log, "a %d", 1);
	log_notice(log, "b");
	log_info(log, "c");
	log_debug(log, "not asked for");
	assert_string_equal(read_text(w), "warn: a 1\nnotice: b\ninfo: c\n");
	log_set_level(log, LOG_LEVEL_ERR);
	log_warn(log, "quiet");
	assert_string_equal(read_text(w), "");
	log_set_level(log, LOG_LEVEL_DEBUG);
	log_debug(log, "now");
	assert_string_equal(read_text(w), "debug: now\n");
	log_close(log);
	log_err(NULL, "nobody listens");
	log_close(NULL);
}

static void the_journal_gets_its_prefix(void **state)
{
	struct world *w = *state;
	struct stat st;
	char stream[64];
	struct log *log;

	assert_int_equal(fstat(w->out, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu",
		 (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_DEBUG), 0);
	log_err(log, "e");
	log_warn(log, "w");
	log_notice(log, "n");
	log_info(log, "i");
	log_debug(log, "d");
	assert_string_equal(read_text(w), "<3>e\n<4>w\n<5>n\n<6>i\n<7>d\n");
	log_close(log);
	/* Set, but stderr has been sent elsewhere since. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_DEBUG), 0);
	log_info(log, "i");
	assert_string_equal(read_text(w), "info: i\n");
	log_close(log);
}

static void nothing_reaches_a_terminal(void **state)
{
	struct world *w = *state;
	struct log *log;
	char text[16];

	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_INFO), 0);
	log_info(log, "peer says %s", "\033[2Jhi\nerr: fake\xc3\xa4\x7f~");
	assert_string_equal(read_text(w),
			    "info: peer says \\x1b[2Jhi\\x0aerr: "
			    "fake\\xc3\\xa4\\x7f~\n");
	log_close(log);
	assert_string_equal(log_escape("a\0b", 3, text, sizeof(text)),
			    "a\\x00b");
	/* Cut between characters, never inside \xNN. */
	assert_string_equal(log_escape("ab\n", 3, text, 6), "ab");
	assert_string_equal(log_escape("ab\n", 3, text, 7), "ab\\x0a");
	assert_string_equal(log_escape("abc", 3, text, 3), "ab");
	assert_string_equal(log_escape("abc", 3, text, 1), "");
	text[0] = 'z';
	log_escape("abc", 3, text, 0);
	assert_int_equal(text[0], 'z');
}

static void long_lines_are_cut(void **state)
{
	struct world *w = *state;
	char much[3 * LOG_LINE_MAX];
	struct log *log;
	const char *text;

	memset(much, '\n', sizeof(much));
	much[sizeof(much) - 1] = '\0';
	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_INFO), 0);
	log_info(log, "%s", much);
	text = read_text(w);
	assert_true(strlen(text) <= LOG_LINE_MAX + 16);
	assert_true(strlen(text) > LOG_LINE_MAX - 16);
	assert_int_equal(count_lines(text), 1);
	log_close(log);
}

static void repetition_is_limited(void **state)
{
	struct world *w = *state;
	struct log *log;

	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_DEBUG), 0);
	for (int i = 0; i < 3 * LOG_BURST; i++)
		log_warn(log, "again %d", i);
	assert_int_equal(count_lines(read_text(w)), LOG_BURST);
	/* Others are heard, and debugging hears everything. */
	log_warn(log, "something else");
	assert_string_equal(read_text(w), "warn: something else\n");
	for (int i = 0; i < 3 * LOG_BURST; i++)
		log_debug(log, "detail %d", i);
	assert_int_equal(count_lines(read_text(w)), 3 * LOG_BURST);
	log_close(log);
}

/* The interval is made to be over; what was left out is said. */
static void what_was_left_out_is_counted(void **state)
{
	struct world *w = *state;
	struct log *log;
	int i = 0;

	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_INFO), 0);
	for (int round = 0; round < 2; round++) {
		do {
			log_warn(log, "again %d", i);
		} while (++i % (LOG_BURST + 7));
		read_text(w);
		log->sites[0].since_ms -= LOG_INTERVAL_MS;
	}
	do {
		log_warn(log, "again %d", i);
	} while (++i % 2);
	assert_string_equal(read_text(w),
			    "warn: 7 more like the next line were left out\n"
			    "warn: again 34\nwarn: again 35\n");
	log_close(log);
}

/* More sites than there is room for: the quietest is forgotten, the one that
 * repeats itself is not. */
static void many_sites_fit(void **state)
{
	static const char sites[2 * LOG_SITES_MAX];
	struct world *w = *state;
	unsigned left_out;
	struct log *log;

	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_INFO), 0);
	for (int i = 0; i < 2 * LOG_SITES_MAX; i++)
		assert_true(admit(log, &sites[i], LOG_BURST, now_ms(),
				  &left_out));
	for (int i = 0; i < LOG_SITES_MAX; i++)
		log->sites[i].since_ms -= 1;
	for (int i = 0; i < LOG_BURST; i++)
		assert_true(admit(log, "loud", LOG_BURST, now_ms(),
				  &left_out));
	for (int i = 0; i < LOG_SITES_MAX - 1; i++)
		assert_true(admit(log, &sites[i], LOG_BURST, now_ms(),
				  &left_out));
	assert_false(admit(log, "loud", LOG_BURST, now_ms(),
				  &left_out));
	log_close(log);
}

/* The journal's end of it stands still; the descriptor may block. */
static void a_full_pipe_stops_nobody(void **state)
{
	struct world *w = *state;
	static char much[LOG_LINE_MAX];
	int flags = fcntl(w->out, F_GETFL);
	size_t n = 0, left;
	char expected[96];
	struct log *log;

	memset(much, 'x', sizeof(much) - 1);
	assert_int_equal(fcntl(w->out, F_SETFL, flags & ~O_NONBLOCK), 0);
	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_DEBUG), 0);
	alarm(5);
	for (int i = 0; i < 500; i++)
		log_debug(log, "%s", much);
	alarm(0);
	do {
		left = strlen(read_text(w));
		n += count_lines(w->text);
	} while (left == TEXT_MAX - 1);
	assert_true(n > 10 && n < 500);
	log_warn(log, "there again");
	snprintf(expected, sizeof(expected), "warn: %zu lines were lost: "
		 "nobody read them\nwarn: there again\n", 500 - n);
	assert_string_equal(read_text(w), expected);
	log_close(log);
}

static void say(struct log *log, struct log_share *by, const char *name,
		bool reserved, int n)
{
	for (int i = 0; i < n; i++)
		log_write_by(log, by, name, reserved, LOG_LEVEL_NOTICE,
			     "%s moves", name);
}

/* One that moves without end is left out, and counted, and no other is; many
 * that do leave a configured one its lines. */
static void a_peer_has_a_share_of_the_lines(void **state)
{
	struct log_share loud = { 0 }, honest = { 0 }, many[20] = { 0 };
	struct world *w = *state;
	struct log *log;

	assert_int_equal(log_open(&log, w->out, LOG_LEVEL_INFO), 0);
	say(log, &loud, "loud", false, 100);
	assert_int_equal(count_lines(read_text(w)), LOG_PEER_BURST);
	say(log, &honest, "honest", false, 1);
	assert_string_equal(read_text(w), "notice: honest moves\n");
	loud.lines.full_ms -= LOG_PEER_TOKEN_MS;
	say(log, &loud, "lo\nud", false, 1);
	assert_string_equal(read_text(w),
			    "notice: 95 more lines about lo\\x0aud were left "
			    "out\nnotice: lo\\x0aud moves\n");
	for (size_t i = 0; i < sizeof(many) / sizeof(*many); i++)
		say(log, &many[i], "many", false, LOG_PEER_BURST);
	read_text(w);
	say(log, &(struct log_share){ 0 }, "late", false, 1);
	assert_string_equal(read_text(w), "");
	say(log, &(struct log_share){ 0 }, "configured", true, 1);
	assert_string_equal(read_text(w), "notice: configured moves\n");
	log_close(log);
}

static void levels_have_names(void **state)
{
	(void)state;
	assert_string_equal(log_level_name(LOG_LEVEL_ERR), "err");
	assert_string_equal(log_level_name(LOG_LEVEL_DEBUG), "debug");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lines_have_their_level),
		TEST(the_journal_gets_its_prefix),
		TEST(nothing_reaches_a_terminal),
		TEST(long_lines_are_cut),
		TEST(repetition_is_limited),
		TEST(what_was_left_out_is_counted),
		TEST(many_sites_fit),
		TEST(a_full_pipe_stops_nobody),
		TEST(a_peer_has_a_share_of_the_lines),
		cmocka_unit_test(levels_have_names),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
