/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * call: one connection of sacipctl to a running saciped.
 *
 * Owns the socket, what goes wrong on it, and the exit codes for that. Never
 * reads what is in an answer, never prints.
 */
#ifndef SACIPED_CALL_H
#define SACIPED_CALL_H

#include "ctlmsg.h"

struct call {
	const char *path; /* of the socket */
	int fd;	 /* -1: not open */
	int stop_fd; /* readable: wait no longer; -1: none */
	int timeout_ms;	/* for an answer; -1: for ever */
	char error[2 * CTL_TEXT_MAX]; /* the sentence for an exit code */
	uint8_t packet[CTL_MESSAGE_MAX];
};

#define CALL_TIMEOUT_MS 10000
/* What no exit code is: stop_fd became readable. */
#define CALL_STOPPED (-1)

/* Keeps the sentence in c->error and returns `code`. */
int __attribute__((format(printf, 3, 4)))
call_fail(struct call *c, int code, const char *format, ...);

/* 0, or an exit code and c->error, as those below. */
int call_open(struct call *c);
void call_close(struct call *c);
int call_ask(struct call *c, const struct ctl_request *r);
/* The next packet of an answer; valid until the next call. Where the daemon
 * refused, c->error is its reason. Also CALL_STOPPED. */
int call_receive(struct call *c, struct ctl_answer *a);
/* The exit code of an answer that breaks the format, and its sentence. */
int call_malformed(struct call *c);

#endif
