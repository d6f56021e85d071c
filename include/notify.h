/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * notify: tells systemd how the daemon is, by sd_notify(3)'s datagram, and
 * takes the sockets that it has bound.
 *
 * Owns the few calls that this needs, which are not worth a library. Never
 * fails the daemon: where no service manager asks nothing happens.
 */
#ifndef SACIPED_NOTIFY_H
#define SACIPED_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

/* Sends `state`, such as "READY=1" or "STOPPING=1\nSTATUS=..", to
 * $NOTIFY_SOCKET (a path, or "@" and an abstract name). 1 sent, 0 where no
 * service manager asks, or -errno. Never blocks. */
int notify_send(const char *state);

/* Within how much time the service manager wants to hear "WATCHDOG=1" from
 * this process, in microseconds (sd_watchdog_enabled(3)); 0: it does not. */
uint64_t notify_watchdog_usec(void);

/* The sockets that the service manager has bound for us (sd_listen_fds(3)):
 * at most `max` to `fds`, now close-on-exec and the caller's; how many there
 * are of these. Once: the environment is taken out. */
size_t notify_sockets(int *fds, size_t max);

/* "RELOADING=1" with the time that Type=notify-reload wants beside it (it
 * harms no older systemd); "READY=1" follows when the reload is done. */
int notify_reloading(void);

#endif
