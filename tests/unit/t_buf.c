/* SPDX-License-Identifier: GPL-2.0-or-later */
/* buf: byte order, bounds, sticky errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "buf.h"

static void order_is_big_endian(void **state)
{
	static const uint8_t want[] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06,
					0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c,
					0x0d, 0x0e, 0x0f, 0xaa, 0xbb, 0,
					0 };
	uint8_t data[sizeof want];
	uint8_t two[2];
	struct buf_writer w;
	struct buf_reader r;

	(void)state;
	memset(data, 0xee, sizeof data);
	buf_writer_init(&w, data, sizeof data);
	buf_put_u8(&w, 0x01);
	buf_put_be16(&w, 0x0203);
	buf_put_be32(&w, 0x04050607);
	buf_put_be64(&w, 0x08090a0b0c0d0e0f);
	buf_put_bytes(&w, "\xaa\xbb", 2);
	buf_put_zeros(&w, 2);
	assert_true(buf_writer_ok(&w));
	assert_int_equal(w.len, sizeof want);
	assert_memory_equal(data, want, sizeof want);

	buf_reader_init(&r, data, sizeof data);
	assert_int_equal(buf_get_u8(&r), 0x01);
	assert_int_equal(buf_get_be16(&r), 0x0203);
	assert_int_equal(buf_get_be32(&r), 0x04050607);
	assert_true(buf_get_be64(&r) == 0x08090a0b0c0d0e0f);
	assert_int_equal(buf_left(&r), 4);
	buf_get_bytes(&r, two, 2);
	assert_memory_equal(two, "\xaa\xbb", 2);
	assert_ptr_equal(buf_get_view(&r, 2), data + 17);
	assert_int_equal(buf_left(&r), 0);
	assert_true(buf_reader_ok(&r));
}

/* For each size of buffer: what fits is whole, what does not is absent. */
static void writer_stops_at_its_end(void **state)
{
	static const size_t sizes[] = { 1, 2, 4, 8, 3, 5 };
	uint8_t data[32];
	struct buf_writer w;

	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
		for (size_t size = 0; size < 16; size++) {
			memset(data, 0xee, sizeof data);
			buf_writer_init(&w, data, size);
			switch (k) {
			case 0:
				buf_put_u8(&w, 0);
				break;
			case 1:
				buf_put_be16(&w, 0);
				break;
			case 2:
				buf_put_be32(&w, 0);
				break;
			case 3:
				buf_put_be64(&w, 0);
				break;
			case 4:
				buf_put_bytes(&w, "\0\0", 3);
				break;
			case 5:
				buf_put_zeros(&w, 5);
				break;
			}
			assert_int_equal(buf_writer_ok(&w), sizes[k] <= size);
			assert_int_equal(w.len,
					 sizes[k] <= size ? sizes[k] : 0);
			for (size_t i = w.len; i < sizeof data; i++)
				assert_int_equal(data[i], 0xee);
		}
}

static void writer_error_sticks(void **state)
{
	uint8_t data[4] = { 0 };
	struct buf_writer w;

	(void)state;
	buf_writer_init(&w, data, 3);
	buf_put_be32(&w, 0x01020304);
	assert_false(buf_writer_ok(&w));
	buf_put_u8(&w, 9); /* would fit */
	assert_false(buf_writer_ok(&w));
	assert_int_equal(w.len, 0);
	assert_int_equal(data[0], 0);
	/* A length near the top of size_t must not wrap round. */
	buf_writer_init(&w, data, 3);
	buf_put_u8(&w, 1);
	buf_put_zeros(&w, SIZE_MAX);
	assert_false(buf_writer_ok(&w));
	assert_int_equal(w.len, 1);
}

static void reader_error_sticks(void **state)
{
	static const uint8_t data[3] = { 1, 2, 3 };
	uint8_t to[4] = { 9, 9, 9, 9 };
	struct buf_reader r;

	(void)state;
	buf_reader_init(&r, data, sizeof data);
	assert_int_equal(buf_get_be32(&r), 0);
	assert_false(buf_reader_ok(&r));
	assert_int_equal(buf_left(&r), 0);
	assert_int_equal(buf_get_u8(&r), 0); /* would be there */
	assert_null(buf_get_view(&r, 0));
	buf_get_bytes(&r, to, sizeof to);
	assert_memory_equal(to, "\0\0\0\0", 4);

	buf_reader_init(&r, data, sizeof data);
	assert_int_equal(buf_get_u8(&r), 1);
	assert_null(buf_get_view(&r, SIZE_MAX));
	assert_false(buf_reader_ok(&r));

	buf_reader_init(&r, NULL, 0);
	assert_true(buf_reader_ok(&r));
	buf_get_bytes(&r, NULL, 0);
	assert_true(buf_reader_ok(&r));
	assert_int_equal(buf_get_be64(&r), 0);
	assert_false(buf_reader_ok(&r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_is_big_endian),
		cmocka_unit_test(writer_stops_at_its_end),
		cmocka_unit_test(writer_error_sticks),
		cmocka_unit_test(reader_error_sticks),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
