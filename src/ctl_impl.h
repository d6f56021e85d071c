/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl_impl: what the two halves of ctl share: ctl.c owns sockets and
 * clients, ctl_answer.c what a request may and what is answered.
 */
#ifndef SACIPED_CTL_IMPL_H
#define SACIPED_CTL_IMPL_H

#include "ctl.h"

#include <sys/queue.h>
#include <sys/un.h>

enum ctl_mode {
	MODE_IDLE, /* waits for a request */
	MODE_FLOWS,
	MODE_PEERS,
	MODE_MONITOR,
};

struct ctl_client {
	TAILQ_ENTRY(ctl_client) link;
	int fd;
	uid_t uid; /* at connect(), for the bounds */
	enum ctl_mode mode;
	bool sees_all;	   /* sees others' flows: of the request in work */
	bool closing;	   /* when `out` has been sent */
	bool dead;	   /* closed; freed when no loop can hold it any more */
	uint32_t interest; /* epoll events that are set */
	uint64_t cursor;   /* of the listing */
	uint64_t hidden;   /* flows left out of the listing: others' */
	uint64_t lost;	   /* events not sent to a monitor */
	size_t out_len;	   /* 0: nothing waits */
	uint8_t out[CTL_MESSAGE_MAX];
};

TAILQ_HEAD(ctl_clients, ctl_client);

struct ctl {
	int epoll_fd, listen_fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t dev; /* of the socket file, to remove no other */
	ino_t ino;
	const struct ctl_ops *ops;
	void *ctx;
	struct counters *counters;
	struct ctl_clients clients;	    /* oldest first */
	unsigned int n_clients, n_monitors; /* the dead not counted */
	bool processing;		    /* inside ctl_process() */
	uint64_t last_event_ms;
};

struct ctl_caller {
	uid_t uid;
	bool sees_all; /* uid 0, or in the socket's group */
};

/* Starts the answer to a request: sets the client's mode or fills `out`. */
void ctl_answer_request(struct ctl *ctl, struct ctl_client *c,
			const struct ctl_caller *who,
			const struct ctl_request *q);
/* The same for a request that could not be read. */
void ctl_answer_refuse(struct ctl *ctl, struct ctl_client *c,
		       enum ctl_result result, const char *text);
/* Fills `out` with what comes next (a listing, lost events); false where
 * nothing does. `out` may stay empty although more comes. */
bool ctl_answer_step(struct ctl *ctl, struct ctl_client *c);
/* May the caller see what belongs to the user `owner`? */
bool ctl_answer_visible(const struct ctl_caller *who, uint32_t owner);

#endif
