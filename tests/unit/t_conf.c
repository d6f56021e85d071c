/* SPDX-License-Identifier: GPL-2.0-or-later */
/* t_conf: saciped.conf is read exactly, and its policy means what it says. */
#include "conf.h"
#include "crypto.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY_A "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define KEY_B "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

const char *__lsan_default_suppressions(void);

/* libconfig 1.5 loses a string that a syntax error cuts short. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig";
}

static struct addr addr_of(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static struct tuple tuple_of(uint8_t proto, const char *local,
			     uint16_t local_port, const char *remote,
			     uint16_t remote_port)
{
	struct tuple t;

	memset(&t, 0, sizeof(t));
	t.proto = proto;
	t.local.addr = addr_of(local);
	t.local.port = local_port;
	t.remote.addr = addr_of(remote);
	t.remote.port = remote_port;
	return t;
}

static void load(const char *text, struct conf *conf)
{
	char error[CONF_ERROR_MAX];
	int err = conf_parse(text, "t.conf", conf, error);

	if (err)
		print_message("# %s\n", error);
	assert_int_equal(err, 0);
	assert_string_equal(error, "");
}

static void empty_text_gives_the_defaults(void **state)
{
	struct conf a, b;

	(void)state;
	load("", &a);
	conf_init(&b);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_string_equal(a.runtime_dir, "/run/saciped");
	assert_string_equal(a.state_dir, "/var/lib/saciped");
	assert_int_equal(a.port, 1021);
	assert_int_equal(a.mark, 0x10000000);
	assert_int_equal(a.table, 1021);
	assert_int_equal(a.queue, 1021);
	assert_int_equal(a.long_lived_after_s, 10);
	assert_int_equal(a.first_contact, CONF_FIRST_CONTACT_ACCEPT);
	conf_free(&a);
}

static void every_key_is_read(void **state)
{
	struct conf c;

	(void)state;
	load("runtime_dir = \"/run/a//\"; state_dir = \"/b\"; port = 2000;\n"
	     "long_lived_after_s = 0; first_contact = \"pinned\";\n"
	     "initiate = [ \"192.0.2.0/24\", \"2001:db8::/32\" ];\n"
	     "peers = ( { name = \"alpha\"; public_key = \"" KEY_A "\";\n"
	     "  addresses = [ \"192.0.2.1\", \"::ffff:192.0.2.2\" ]; },\n"
	     "  { name = \"beta\"; public_key = \"" KEY_B "\"; } );\n"
	     "revoked_keys = [ \"" KEY_B "\" ];\n"
	     "allow = [ \"tcp 10.0.0.0/8 22\" ]; deny = [ \"::/0\" ];\n"
	     "locator_allow = [ \"0.0.0.0/0\" ];\n"
	     "locator_deny = ( \"10.1.0.0/16\" );\n"
	     "allow_private = true; leave_tunnel = true;\n"
	     "mark = 0x80000000; table = 256; queue = 65497; queues = 16;\n"
	     "max_flows = 7; max_peers = 3;\n",
	     &c);
	assert_string_equal(c.runtime_dir, "/run/a");
	assert_string_equal(c.state_dir, "/b");
	assert_int_equal(c.port, 2000);
	assert_int_equal(c.long_lived_after_s, 0);
	assert_int_equal(c.first_contact, CONF_FIRST_CONTACT_PINNED);
	assert_int_equal(c.initiate.n, 2);
	assert_int_equal(c.peers.n, 2);
	assert_string_equal(c.peers.item[0].name, "alpha");
	assert_int_equal(c.peers.item[0].n_addresses, 2);
	assert_int_equal(c.peers.item[0].address[1].family, 4);
	assert_int_equal(c.peers.item[1].public_key[0], 1);
	assert_int_equal(c.peers.item[1].n_addresses, 0);
	assert_int_equal(c.revoked_keys.n, 1);
	assert_int_equal(c.allow.n, 1);
	assert_int_equal(c.allow.item[0].proto, IPPROTO_TCP);
	assert_int_equal(c.allow.item[0].port_low, 22);
	assert_int_equal(c.allow.item[0].port_high, 22);
	assert_int_equal(c.deny.n, 1);
	assert_int_equal(c.deny.item[0].port_high, UINT16_MAX);
	assert_int_equal(c.locator_allow.n, 1);
	assert_int_equal(c.locator_deny.n, 1);
	assert_true(c.allow_private);
	assert_true(c.leave_tunnel);
	assert_int_equal(c.mark, 0x80000000u);
	assert_int_equal(c.table, 256);
	assert_int_equal(c.queue, 65497);
	assert_int_equal(c.queues, 16);
	assert_int_equal(c.max_flows, 7);
	assert_int_equal(c.max_peers, 3);
	conf_free(&c);
}

static const struct {
	const char *text, *error;
} wrong[] = {
	{ "prot = 1;", "t.conf:1: unknown key \"prot\"" },
	{ "port = 1021;\nport = 1022;", "t.conf:2: duplicate setting name" },
	{ "port = 1021;\n\nqueue 5;", "t.conf:3: syntax error (here or" },
	{ "first_contact = pinned;", "t.conf:1: syntax error (here or just "
	  "before: key = value; with text in double quotes)" },
	{ "port = 0;", "t.conf:1: port: must be 1 to 65535" },
	{ "port = 65536;", "t.conf:1: port: must be 1 to 65535" },
	{ "port = -1;", "t.conf:1: port: must be 1 to 65535" },
	{ "port = \"1021\";", "t.conf:1: port: must be a number" },
	{ "port = 1021.0;", "t.conf:1: port: must be a number" },
	{ "port = true;", "t.conf:1: port: must be a number" },
	/* libconfig alone would read 1021. */
	{ "\nport = 4294968317;", "t.conf:2: 4294968317: number too large" },
	{ "port = 0x1000003fd;", "t.conf:1: 0x1000003fd: number too large" },
	{ "long_lived_after_s = 86401;",
	  "t.conf:1: long_lived_after_s: must be 0 to 86400" },
	{ "# a\n/* b\n */ @include \"x\"",
	  "t.conf:3: @include is not supported" },
	{ "mark = 3;", "t.conf:1: mark: must be exactly one bit" },
	{ "mark = 0;", "t.conf:1: mark: must be 1 to 4294967295" },
	{ "table = 0;", "t.conf:1: table: must be 1 to 2147483646" },
	{ "table = 252;", "t.conf:1: table: 252 and 253 are used" },
	{ "table = 255;", "t.conf:1: table: 255 and 256 are used" },
	{ "queue = 65498;", "t.conf:1: queue: must be 0 to 65497" },
	{ "queues = 17;", "t.conf:1: queues: must be 0 to 16" },
	{ "runtime_dir = \"run\";",
	  "t.conf:1: runtime_dir: must be an absolute path" },
	{ "runtime_dir = 5;",
	  "t.conf:1: runtime_dir: must be an absolute path" },
	{ "state_dir = \"///\";", "t.conf:1: state_dir: \"/\" is no" },
	{ "state_dir = \"/run/saciped\";",
	  "t.conf: runtime_dir and state_dir are the same" },
	{ "first_contact = \"yes\";",
	  "t.conf:1: first_contact: must be \"accept\" or \"pinned\"" },
	{ "first_contact = 1;", "t.conf:1: first_contact: must be" },
	{ "initiate = \"10.0.0.0/8\";", "t.conf:1: initiate: must be a list" },
	{ "initiate = [ 1, 2 ];",
	  "t.conf:1: initiate: entry 1 must be text in quotes" },
	{ "initiate = [\n\"10.0.0.1/8\" ];",
	  "t.conf:2: initiate: \"10.0.0.1/8\" is no prefix" },
	{ "initiate = [ \"example.org\" ];",
	  "t.conf:1: initiate: \"example.org\" is no prefix" },
	{ "allow = [ \"sctp 10.0.0.0/8\" ];",
	  "t.conf:1: allow: \"sctp 10.0.0.0/8\" is not" },
	{ "allow = [ \"10.0.0.0/8 0\" ];", "t.conf:1: allow: " },
	{ "allow = [ \"10.0.0.0/8 65536\" ];", "t.conf:1: allow: " },
	{ "allow = [ \"10.0.0.0/8 5-4\" ];", "t.conf:1: allow: " },
	{ "allow = [ \"10.0.0.0/8 5-\" ];", "t.conf:1: allow: " },
	{ "allow = [ \"10.0.0.0/8 1-2-3\" ];", "t.conf:1: allow: " },
	{ "allow = [ \"10.0.0.0/8  5\" ];", "t.conf:1: allow: " },
	{ "deny = [ \"tcp \" ];", "t.conf:1: deny: " },
	{ "deny = [ \"\" ];", "t.conf:1: deny: " },
	{ "allow_private = 1;", "t.conf:1: allow_private: must be true or" },
	{ "revoked_keys = [ \"abc\" ];",
	  "t.conf:1: revoked_keys: entry 1 is no public key" },
	{ "peers = { };", "t.conf:1: peers: must be a list in round" },
	{ "peers = ( 5 );", "t.conf:1: peers: an entry must be { name" },
	{ "peers = ( { name = \"a\"; } );",
	  "t.conf:1: peers: public_key is missing" },
	{ "peers = ( { public_key = \"" KEY_A "\"; } );",
	  "t.conf:1: peers: name is missing" },
	{ "peers = ( { name = \"a\";\nkey = \"" KEY_A "\"; } );",
	  "t.conf:2: peers: unknown key \"key\"" },
	{ "peers = ( { name = \"a\"; public_key = \"" KEY_A "A\"; } );",
	  "t.conf:1: peers: public_key must be 44 characters" },
	{ "peers = ( { name = \"12\"; public_key = \"" KEY_A "\"; } );",
	  "t.conf:1: peers: a name of digits alone" },
	{ "peers = ( { name = \"a b\"; public_key = \"" KEY_A "\"; } );",
	  "t.conf:1: peers: name may hold" },
	{ "peers = ( { name = \"\"; public_key = \"" KEY_A "\"; } );",
	  "t.conf:1: peers: name must have 1 to 63 characters" },
	{ "peers = ( { name = \"a\"; public_key = \"" KEY_A "\";\n"
	  "addresses = [ \"host\" ]; } );",
	  "t.conf:2: peers: \"host\" is no numeric address" },
	{ "peers = ( { name = \"a\"; public_key = \"" KEY_A "\"; addresses ="
	  " [ \"::1\", \"::1\" ]; } );",
	  "t.conf:1: peers: \"::1\" stands there twice" },
	{ "peers = ( { name = \"a\"; public_key = \"" KEY_A "\"; },\n"
	  "{ name = \"a\"; public_key = \"" KEY_B "\"; } );",
	  "t.conf:2: peers: name \"a\" stands there twice" },
	{ "peers = ( { name = \"a\"; public_key = \"" KEY_A "\"; },\n"
	  "{ name = \"b\"; public_key = \"" KEY_A "\"; } );",
	  "t.conf:2: peers: \"a\" and \"b\" have the same" },
};

static void errors_name_file_line_and_cause(void **state)
{
	char error[CONF_ERROR_MAX];
	struct conf c;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(conf_parse(wrong[i].text, "t.conf", &c, error),
				 -EINVAL);
		if (strncmp(error, wrong[i].error, strlen(wrong[i].error)))
			assert_string_equal(error, wrong[i].error);
		assert_null(strchr(error, '\n'));
		assert_null(c.peers.item);
	}
}

static void text_of_the_file_cannot_reach_the_terminal(void **state)
{
	char error[CONF_ERROR_MAX];
	struct conf c;

	(void)state;
	assert_int_equal(
		conf_parse("initiate = [ \"\\x1b[2J\\n\" ];", "t", &c, error),
		-EINVAL);
	assert_null(strchr(error, '\033'));
	assert_null(strchr(error, '\n'));
}

static void numbers_in_text_and_comments_are_no_numbers(void **state)
{
	struct conf c;

	(void)state;
	load("# 99999999999 @include\n/* 99999999999 */ // 99999999999\n"
	     "runtime_dir = \"/a99999999999\\\"@include\"; port = 5;",
	     &c);
	assert_int_equal(c.port, 5);
	conf_free(&c);
}

static void files_that_are_none_are_refused(void **state)
{
	char error[CONF_ERROR_MAX], path[] = "/tmp/t_conf.XXXXXX";
	struct conf c;
	int fd;

	(void)state;
	assert_int_equal(conf_load("/nonexistent/a.conf", &c, error), -ENOENT);
	assert_string_equal(error, "/nonexistent/a.conf: No such file or"
				   " directory (an empty file will do)");
	assert_int_equal(conf_load("/", &c, error), -EISDIR);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "port = 5;\0port = 6;", 19), 19);
	assert_int_equal(conf_load(path, &c, error), -EILSEQ);
	assert_int_equal(ftruncate(fd, CONF_FILE_MAX + 1), 0);
	assert_int_equal(conf_load(path, &c, error), -EFBIG);
	assert_int_equal(ftruncate(fd, 9), 0);
	assert_int_equal(conf_load(path, &c, error), 0);
	assert_int_equal(c.port, 5);
	conf_free(&c);
	close(fd);
	unlink(path);
}

static void deny_wins_and_ports_are_of_either_end(void **state)
{
	struct tuple ssh_out =
		tuple_of(IPPROTO_TCP, "10.1.1.1", 40000, "192.0.2.5", 22);
	struct tuple ssh_in =
		tuple_of(IPPROTO_TCP, "10.1.1.1", 22, "192.0.2.5", 40000);
	struct tuple udp =
		tuple_of(IPPROTO_UDP, "10.1.1.1", 9, "192.0.2.5", 22);
	struct conf c;

	(void)state;
	load("", &c);
	assert_true(conf_flow_allowed(&c, &udp));
	conf_free(&c);

	load("allow = [ \"tcp 192.0.2.0/24 20-22\" ];", &c);
	assert_true(conf_flow_allowed(&c, &ssh_out));
	assert_true(conf_flow_allowed(&c, &ssh_in));
	assert_false(conf_flow_allowed(&c, &udp));
	ssh_out.remote.port = 23;
	assert_false(conf_flow_allowed(&c, &ssh_out));
	ssh_out.remote.port = 20;
	assert_true(conf_flow_allowed(&c, &ssh_out));
	/* The prefix is the remote one: ours does not match it. */
	ssh_out = tuple_reverse(&ssh_out);
	assert_false(conf_flow_allowed(&c, &ssh_out));
	conf_free(&c);

	load("allow = [ \"192.0.2.0/24\" ]; deny = [ \"udp 192.0.2.5\" ];", &c);
	assert_true(conf_flow_allowed(&c, &ssh_in));
	assert_false(conf_flow_allowed(&c, &udp));
	udp.remote.addr = addr_of("192.0.2.6");
	assert_true(conf_flow_allowed(&c, &udp));
	udp.remote.addr = addr_of("2001:db8::1");
	assert_false(conf_flow_allowed(&c, &udp));
	conf_free(&c);
}

/* As many as there may be: it is asked for each socket, 65,536 at a time. */
static void peers_are_found_by_address(void **state)
{
	enum { ALL = CONF_PEERS_MAX * CONF_PEER_ADDRS_MAX };
	char *text = malloc(CONF_FILE_MAX), error[CONF_ERROR_MAX];
	uint8_t key[CRYPTO_KEY_SIZE] = { 0 };
	char key_text[CRYPTO_KEY_TEXT_SIZE];
	struct addr a = { .family = 4 };
	clock_t began;
	struct conf c;
	size_t at;

	(void)state;
	assert_non_null(text);
	at = (size_t)sprintf(text, "peers = (");
	for (unsigned int i = 0; i < CONF_PEERS_MAX; i++) {
		key[0] = (uint8_t)i;
		key[1] = (uint8_t)(i >> 8);
		key[2] = 1;
		crypto_key_to_text(key, key_text);
		at += (size_t)sprintf(text + at, "%s{ name = \"p%u\"; public_key = "
				      "\"%s\"; addresses = [ ",
				      i ? ", " : "", i, key_text);
		/* The last one of each is the first one of the next. */
		for (unsigned int j = 0; j < CONF_PEER_ADDRS_MAX; j++) {
			const unsigned int k =
				i * (CONF_PEER_ADDRS_MAX - 1) + j;

			at += (size_t)sprintf(text + at, "%s\"10.%u.%u.%u\"",
					      j ? ", " : "", k >> 16,
					      k >> 8 & 255, k & 255);
		}
		at += (size_t)sprintf(text + at, " ]; }");
	}
	sprintf(text + at, " );");
	assert_int_equal(conf_parse(text, "t", &c, error), 0);
	free(text);
	began = clock();
	for (unsigned int k = 0; k < ALL; k++) {
		const unsigned int i = k ? (k - 1) / (CONF_PEER_ADDRS_MAX - 1) :
					   0;

		a.byte[0] = 10;
		a.byte[1] = (uint8_t)(k >> 16);
		a.byte[2] = (uint8_t)(k >> 8);
		a.byte[3] = (uint8_t)k;
		assert_ptr_equal(conf_find_peer_by_addr(&c, &a),
				 i < c.peers.n ? &c.peers.item[i] : NULL);
	}
	assert_true(clock() - began < CLOCKS_PER_SEC);
	conf_free(&c);
}

static void peers_and_initiate_open_handshakes(void **state)
{
	struct addr listed = addr_of("192.0.2.1"), other = addr_of("10.0.0.1"),
		    neither = addr_of("198.51.100.1");
	uint8_t key_b[CONF_KEY_SIZE] = { 1 }, key_c[CONF_KEY_SIZE] = { 2 };
	struct conf c;

	(void)state;
	load("peers = ( { name = \"a\"; public_key = \"" KEY_B
	     "\"; addresses = [ \"192.0.2.1\" ]; } );"
	     "initiate = [ \"10.0.0.0/8\" ]; revoked_keys = [ \"" KEY_A "\" ];",
	     &c);
	assert_true(conf_initiate_allowed(&c, &listed));
	assert_true(conf_initiate_allowed(&c, &other));
	assert_false(conf_initiate_allowed(&c, &neither));
	assert_ptr_equal(conf_find_peer_by_addr(&c, &listed), c.peers.item);
	assert_null(conf_find_peer_by_addr(&c, &other));
	assert_ptr_equal(conf_find_peer_by_key(&c, key_b), c.peers.item);
	assert_null(conf_find_peer_by_key(&c, key_c));
	assert_ptr_equal(conf_find_peer_by_name(&c, "a"), c.peers.item);
	assert_null(conf_find_peer_by_name(&c, "b"));
	assert_false(conf_key_revoked(&c, key_b));
	memset(key_b, 0, sizeof(key_b));
	assert_true(conf_key_revoked(&c, key_b));
	conf_free(&c);
}

static void locators_are_judged(void **state)
{
	static const struct {
		const char *locator, *current;
		enum reason reason;
	} cases[] = {
		{ "8.8.8.8", "9.9.9.9", REASON_NONE },
		{ "10.0.0.1", "10.9.9.9", REASON_NONE },
		{ "8.8.8.8", "10.0.0.1", REASON_NONE },
		{ "10.0.0.1", "9.9.9.9", REASON_POLICY },
		{ "10.0.0.1", NULL, REASON_NONE },
		{ "fd00::1", "2600::1", REASON_POLICY },
		{ "2600::1", "9.9.9.9", REASON_FAMILY },
		{ "127.0.0.1", "9.9.9.9", REASON_LOOPBACK },
		{ "::1", "2600::1", REASON_LOOPBACK },
		{ "224.0.0.1", "9.9.9.9", REASON_MULTICAST },
		{ "255.255.255.255", "9.9.9.9", REASON_MULTICAST },
		{ "ff02::1", "2600::1", REASON_MULTICAST },
		{ "fe80::1", "fe80::2", REASON_LINK_LOCAL },
		{ "169.254.1.1", "9.9.9.9", REASON_LINK_LOCAL },
		{ "0.0.0.0", "9.9.9.9", REASON_POLICY },
		{ "::", "2600::1", REASON_POLICY },
		{ "240.0.0.1", "9.9.9.9", REASON_POLICY },
	};
	struct addr locator, current;
	struct conf c;

	(void)state;
	load("", &c);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		locator = addr_of(cases[i].locator);
		if (cases[i].current)
			current = addr_of(cases[i].current);
		assert_int_equal(
			conf_locator_check(&c, &locator,
					   cases[i].current ? &current : NULL),
			cases[i].reason);
	}
	conf_free(&c);

	load("locator_allow = [ \"8.0.0.0/8\", \"10.0.0.0/8\" ];"
	     "locator_deny = [ \"8.8.0.0/16\" ]; allow_private = true;",
	     &c);
	current = addr_of("9.9.9.9");
	locator = addr_of("8.1.1.1");
	assert_int_equal(conf_locator_check(&c, &locator, &current),
			 REASON_NONE);
	locator = addr_of("8.8.1.1");
	assert_int_equal(conf_locator_check(&c, &locator, &current),
			 REASON_POLICY);
	locator = addr_of("7.1.1.1");
	assert_int_equal(conf_locator_check(&c, &locator, &current),
			 REASON_POLICY);
	locator = addr_of("10.1.1.1");
	assert_int_equal(conf_locator_check(&c, &locator, &current),
			 REASON_NONE);
	conf_free(&c);
}

static void start_keys_wait_for_a_start(void **state)
{
	char names[CONF_KEYS_TEXT_MAX];
	struct conf running, fresh;

	(void)state;
	load("port = 1;", &running);
	load("port = 2; queue = 3; long_lived_after_s = 4;", &fresh);
	assert_int_equal(conf_keep_start_keys(&running, &fresh, names), 2);
	assert_string_equal(names, "port, queue");
	assert_int_equal(fresh.port, 1);
	assert_int_equal(fresh.queue, 1021);
	assert_int_equal(fresh.long_lived_after_s, 4);
	assert_int_equal(conf_keep_start_keys(&running, &fresh, names), 0);
	assert_string_equal(names, "");
	conf_free(&running);
	conf_free(&fresh);
}

static char *read_text(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char path[1024];
	char *text = calloc(1, 1 << 20);
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", srcdir ? srcdir : ".", name);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
	fclose(f);
	return text;
}

static void the_example_names_every_key_with_its_default(void **state)
{
	char *text = read_text("conf/saciped.conf"), *line, *save;
	char *bare = calloc(1, strlen(text) + 1);
	struct conf example, defaults;
	const char *key;
	char want[80];

	(void)state;
	load(text, &example); /* as it is: everything commented out */
	conf_free(&example);
	for (unsigned int i = 0; (key = conf_key_name(i)); i++) {
		snprintf(want, sizeof(want), "\n#%s = ", key);
		if (!strstr(text, want))
			assert_string_equal(key, "is missing in the example");
	}
	/* "#key = value;" on one line: uncommented they are the defaults.
	 * peers, the only entry of several lines, has an example inside. */
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		if (line[0] == '#' && line[1] >= 'a' && line[1] <= 'z' &&
		    strchr(line, '=') && line[strlen(line) - 1] == ';')
			sprintf(bare + strlen(bare), "%s\n", line + 1);
	load(bare, &example);
	conf_init(&defaults);
	assert_memory_equal(&example, &defaults, sizeof(defaults));
	conf_free(&example);
	free(text);
	free(bare);
}

static void the_manual_names_every_key_and_no_other(void **state)
{
	char *text = read_text("man/saciped.conf.5"), *line, *save;
	const char *key;
	unsigned int i, n = 0;

	(void)state;
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, ".It Ic ", 7) != 0)
			continue;
		n++;
		for (i = 0; (key = conf_key_name(i)); i++)
			if (strncmp(line + 7, key, strlen(key)) == 0 &&
			    (line[7 + strlen(key)] == ' ' ||
			     line[7 + strlen(key)] == '\0'))
				break;
		if (!key)
			assert_string_equal(line, "is no key of the code");
		/* The order is the code's. */
		assert_int_equal(i, n - 1);
	}
	assert_null(conf_key_name(n));
	free(text);
}

int main(void)
{
	const struct CMUnitTest conf[] = {
		cmocka_unit_test(empty_text_gives_the_defaults),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(errors_name_file_line_and_cause),
		cmocka_unit_test(text_of_the_file_cannot_reach_the_terminal),
		cmocka_unit_test(numbers_in_text_and_comments_are_no_numbers),
		cmocka_unit_test(files_that_are_none_are_refused),
		cmocka_unit_test(deny_wins_and_ports_are_of_either_end),
		cmocka_unit_test(peers_are_found_by_address),
		cmocka_unit_test(peers_and_initiate_open_handshakes),
		cmocka_unit_test(locators_are_judged),
		cmocka_unit_test(start_keys_wait_for_a_start),
		cmocka_unit_test(the_example_names_every_key_with_its_default),
		cmocka_unit_test(the_manual_names_every_key_and_no_other),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(conf, NULL, NULL);
}
