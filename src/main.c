/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main: arguments, configuration, log; then daemon_run().
 *
 * Owns the exit codes of saciped(8): 0, 1 failed, 2 usage.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf.h"
#include "daemon.h"
#include "log.h"

static void usage(FILE *to)
{
	fputs("usage: saciped [-d] [-c FILE]\n"
	      "       saciped -t [-c FILE]\n"
	      "       saciped -h | -V\n"
	      "  -c FILE  configuration (" SACIPED_CONF ")\n"
	      "  -t       check the configuration and exit\n"
	      "  -d       log for debugging\n"
	      "  -h       print this\n"
	      "  -V       print the version\n"
	      "saciped runs in the foreground; see saciped(8)\n", to);
}

static int run(const struct daemon_options *options, bool check_only)
{
	struct conf conf;
	struct log *log;
	char error[CONF_ERROR_MAX];
	int code = 0;

	if (log_open(&log, STDERR_FILENO, options->debug ? LOG_LEVEL_DEBUG :
							   LOG_LEVEL_INFO))
		return 1;
	if (conf_load(options->conf_path, &conf, error)) {
		log_err(log, "%s", error);
		log_close(log);
		return 1;
	}
	if (!check_only)
		code = daemon_run(options, log, &conf);
	conf_free(&conf);
	log_close(log);
	return code;
}

int main(int argc, char **argv)
{
	struct daemon_options options = { .conf_path = SACIPED_CONF };
	bool check_only = false;
	int c;

	while ((c = getopt(argc, argv, "c:dhtV")) != -1) {
		switch (c) {
		case 'c':
			options.conf_path = optarg;
			break;
		case 'd':
			options.debug = true;
			break;
		case 't':
			check_only = true;
			break;
		case 'V':
			puts("saciped " PACKAGE_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind != argc) {
		usage(stderr);
		return 2;
	}
	return run(&options, check_only);
}
