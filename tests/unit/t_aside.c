/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of aside: order, bound, and that nobody waits but who closes. */
#include "aside.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
	int gate[2]; /* the first job waits until something can be read here */
	pthread_t by;
	unsigned int n;
	unsigned int seen[ASIDE_JOBS_MAX + 2];
};

static struct world w;

static void wait_at_gate(void *arg)
{
	char byte;

	(void)arg;
	assert_int_equal(read(w.gate[0], &byte, 1), 1);
	w.by = pthread_self();
}

static void note(void *arg)
{
	w.seen[w.n++] = (unsigned int)(uintptr_t)arg;
}

static void nobody_waits_but_who_closes(void **state)
{
	unsigned int asked = 0;
	struct aside *a;

	(void)state;
	assert_int_equal(pipe(w.gate), 0);
	assert_int_equal(aside_open(&a), 0);
	assert_int_equal(aside_do(a, wait_at_gate, NULL), 0);
	while (asked <= ASIDE_JOBS_MAX &&
	       !aside_do(a, note, (void *)(uintptr_t)(asked + 1)))
		asked++;
	/* One more may wait where the first has been taken out already. */
	assert_true(asked == ASIDE_JOBS_MAX || asked == ASIDE_JOBS_MAX - 1);
	assert_int_equal(write(w.gate[1], "", 1), 1);
	aside_close(a);
	assert_int_equal(w.n, asked);
	for (unsigned int i = 0; i < asked; i++)
		assert_int_equal(w.seen[i], i + 1);
	assert_false(pthread_equal(w.by, pthread_self()));
	close(w.gate[0]);
	close(w.gate[1]);
}

static void without_a_job_there_is_no_thread(void **state)
{
	struct aside *a;

	(void)state;
	assert_int_equal(aside_open(&a), 0);
	aside_close(a);
	aside_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_waits_but_who_closes),
		cmocka_unit_test(without_a_job_there_is_no_thread),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("aside", tests, NULL, NULL);
}
