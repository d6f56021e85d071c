/* SPDX-License-Identifier: GPL-2.0-or-later */
/* way: only a change is a reason to move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/way.c"

#define LOOKS 6

/* What is seen, one letter a look: h home, a abroad, n no route; D is the
 * same at home with the address deprecated; then O another source, P another
 * destination, from here on, e a move to O that begins while its packets would
 * leave at home, x while they would abroad (all at no look of their own). What
 * it says:
 * - stays, r better route, d deprecated. */
static const struct {
	const char *seen, *says;
} table[] = {
	{ "hhhh", "----" },
	{ "ha", "-r" },
	{ "haa", "-rr" }, /* as long as it lasts */
	{ "haha", "-r-r" },
	{ "hna", "--r" },
	{ "aaa", "---" }, /* a client inside the LAN: it was so from the start */
	{ "ana", "---" },
	{ "aha", "--r" },
	{ "nah", "---" }, /* the first route that there is */
	{ "nha", "--r" },
	{ "hD", "-d" },
	{ "hDhD", "-d-d" },
	{ "DD", "--" }, /* never preferred, as keepalived adds them */
	{ "DDa", "--r" },
	{ "hPaa", "---" }, /* the peer has moved into the LAN */
	{ "hPha", "--r" },
	{ "hPD", "-d" }, /* no news of the source */
	{ "hODa", "--r" },
	{ "hOaa", "---" },
	{ "heOaa", "-rr" }, /* the route went back before the move was done */
	{ "heOha", "--r" },
	{ "hxOaa", "---" }, /* it was chosen although it is so */
	{ "hePOaa", "---" }, /* the peer has moved meanwhile */
	{ "hePhOaa", "----" }, /* and it was looked at */
};

static struct addr address(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static char says(enum migrate_cause c)
{
	switch (c) {
	case MIGRATE_CAUSE_REFRESH:
		return '-';
	case MIGRATE_CAUSE_BETTER_ROUTE:
		return 'r';
	case MIGRATE_CAUSE_DEPRECATED:
		return 'd';
	default:
		return '?';
	}
}

static void only_a_change_is_a_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct way_now now = { .from = address("192.0.2.1"),
				       .to = address("203.0.113.5") };
		struct way w = { .began = WAY_NOWHERE };
		char got[LOOKS + 1] = "";
		size_t n = 0;

		for (const char *s = table[i].seen; *s; s++) {
			if (*s == 'O' || *s == 'P') {
				*(*s == 'O' ? &now.from : &now.to) =
					address("198.51.100.7");
				continue;
			}
			if (*s == 'e' || *s == 'x') {
				struct way_now next = {
					.from = address("198.51.100.7"),
					.to = now.to,
					.leads = *s == 'e' ? WAY_HOME :
							     WAY_ABROAD,
				};

				way_expect(&w, &next);
				continue;
			}
			now.leads = *s == 'a' ? WAY_ABROAD :
				    *s == 'n' ? WAY_NOWHERE : WAY_HOME;
			now.deprecated = *s == 'D';
			assert_true(n < LOOKS);
			got[n++] = says(way_look(&w, &now));
		}
		if (strcmp(got, table[i].says) != 0)
			fail_msg("%s: says %s, not %s", table[i].seen, got,
				 table[i].says);
	}
}

/* What another track saw, one letter a look at 10, 20 ... ms; the flow is
 * there since; what its own track says once it has looked, too. */
static const struct {
	const char *seen;
	uint64_t since_ms;
	char says;
} heirs[] = {
	{ "ha", 15, 'r' }, /* it was under way when the route changed */
	{ "haa", 25, '-' }, /* it began like this */
	{ "haa", 15, 'r' },
	{ "h", 15, 'r' }, /* nobody has looked since */
	{ "a", 5, '-' }, { "ana", 5, '-' },
	{ "haha", 35, 'r' }, { "haha", 15, 'r' }, /* it has come back since */
	{ "haha", 45, '-' },
	{ "haOh", 15, 'r' }, /* the other has moved */
	{ "haOh", 25, '-' },
	{ "hOh", 5, '-' }, /* for another reason */
	{ "haPa", 15, '-' }, /* another destination */
};

static void what_was_under_way_inherits_the_change(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(heirs) / sizeof(heirs[0]); i++) {
		struct way_now now = { .from = address("192.0.2.1"),
				       .to = address("203.0.113.5") };
		struct way_now late = now;
		struct way other = { .began = WAY_NOWHERE }, w = other;

		for (const char *s = heirs[i].seen; *s; s++) {
			if (*s == 'O' || *s == 'P') {
				*(*s == 'O' ? &now.from : &now.to) =
					address("198.51.100.7");
				continue;
			}
			now.ms += 10;
			now.leads = *s == 'a' ? WAY_ABROAD :
				    *s == 'n' ? WAY_NOWHERE : WAY_HOME;
			(void)way_look(&other, &now);
		}
		late.ms = now.ms + 10;
		late.leads = WAY_ABROAD;
		assert_int_equal(says(way_look(&w, &late)), '-');
		way_inherit(&w, &other, heirs[i].since_ms);
		if (says(way_look(&w, &late)) != heirs[i].says)
			fail_msg("%s, since %llu: not %c", heirs[i].seen,
				 (unsigned long long)heirs[i].since_ms,
				 heirs[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_change_is_a_reason),
		cmocka_unit_test(what_was_under_way_inherits_the_change),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("way", tests, NULL, NULL);
}
