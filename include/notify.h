/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * notify: tells systemd how the daemon is, by sd_notify(3)'s datagram.
 *
 * Owns the one socket call that this needs, which is not worth a library.
 * Never fails the daemon: without NOTIFY_SOCKET nothing happens.
 */
#ifndef SACIPED_NOTIFY_H
#define SACIPED_NOTIFY_H

/* Sends `state`, such as "READY=1" or "STOPPING=1\nSTATUS=..", to
 * $NOTIFY_SOCKET (a path, or "@" and an abstract name). 1 sent, 0 where no
 * service manager asks, or -errno. Never blocks. */
int notify_send(const char *state);

/* "RELOADING=1" with the time that Type=notify-reload wants beside it (it
 * harms no older systemd); "READY=1" follows when the reload is done. */
int notify_reloading(void);

#endif
