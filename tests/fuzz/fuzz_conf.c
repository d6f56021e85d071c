/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_conf: any text as saciped.conf; accepted ones keep their limits. */
#include "conf.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

const char *__lsan_default_suppressions(void);

/* libconfig 1.5 loses a string that a syntax error cuts short. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[CONF_ERROR_MAX], names[CONF_KEYS_TEXT_MAX];
	char *text = malloc(size + 1);
	struct conf conf, other;
	int err;

	check(text);
	memcpy(text, data, size);
	text[size] = '\0';
	err = conf_parse(text, "fuzz.conf", &conf, error);
	free(text);
	if (err) {
		check(strncmp(error, "fuzz.conf:", 10) == 0);
		check(!strchr(error, '\n'));
		return 0;
	}
	check(conf.mark && !(conf.mark & (conf.mark - 1)));
	check(conf.table > 0 && (conf.table < 252 || conf.table > 255));
	check(conf.port && conf.queue < UINT16_MAX);
	check(conf.max_flows && conf.max_peers);
	check(conf.runtime_dir[0] == '/' && conf.state_dir[0] == '/');
	check(memchr(conf.runtime_dir, 0, sizeof(conf.runtime_dir)));
	for (unsigned int i = 0; i < conf.peers.n; i++) {
		const struct conf_peer *p = &conf.peers.item[i];

		check(conf_find_peer_by_name(&conf, p->name) == p);
		check(conf_find_peer_by_key(&conf, p->public_key) == p);
		for (unsigned int j = 0; j < p->n_addresses; j++)
			check(conf_initiate_allowed(&conf, &p->address[j]));
	}
	conf_init(&other);
	conf_keep_start_keys(&other, &conf, names);
	check(conf_keep_start_keys(&other, &conf, names) == 0);
	conf_free(&conf);
	return 0;
}
