/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log: one line for people per thing worth knowing.
 *
 * Owns the levels, the form of a line and the limit on repetition. Only the
 * daemon and main log: cores and adapters return errors and count. Never
 * waits for who reads: a line for which there is no room is lost, and counted.
 * Never grows, never lets a peer's bytes reach a terminal.
 */
#ifndef SACIPED_LOG_H
#define SACIPED_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bucket.h"

struct log;

/* What one peer has of the lines. All zero: it has had none. */
struct log_share {
	struct bucket lines;
	unsigned left_out;
};

enum log_level {
	LOG_LEVEL_ERR, /* the daemon cannot do its work: act */
	LOG_LEVEL_WARN, /* something will not work as wished */
	LOG_LEVEL_NOTICE, /* rare and normal: start, stop, peers, moves */
	LOG_LEVEL_INFO, /* flows */
	LOG_LEVEL_DEBUG,
};

#define LOG_LINE_MAX 1024
#define LOG_SITES_MAX 128 /* formats whose repetition is watched */
#define LOG_BURST 10 /* lines of one format ... */
#define LOG_INTERVAL_MS 10000 /* ... in this time; the rest is counted */
#define LOG_PEERS_BURST 40 /* the same of what peers bring about, ... */
#define LOG_PEER_BURST 5 /* ... of one peer, of all formats, at once ... */
#define LOG_PEER_TOKEN_MS 2000 /* ... and one more in this time */

/*
 * Lines go to `fd` (not owned). Where `fd` is the journal's stream
 * (JOURNAL_STREAM names its device and inode) they open with "<N>"
 * (sd-daemon(3)), elsewhere with the level's name. 0 or -ENOMEM.
 */
int log_open(struct log **log, int fd, enum log_level level);
void log_close(struct log *log); /* NULL is fine */
void log_set_level(struct log *log, enum log_level level);

/*
 * Writes one line, without newline in `format`, if `level` is wanted. The
 * format's address is the call site by which repetition is limited (errors
 * too, debug not); what was left out is said with the site's next line.
 * Control and non-ASCII bytes come out as \xNN. A NULL `log` is silent.
 */
void log_write(struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_write_va(struct log *log, enum log_level level, const char *format,
		  va_list ap) __attribute__((format(printf, 3, 0)));

/*
 * The same of what the peer `name` brings about: at most its share, and what was
 * left out is said, with its name, with its next line. `reserved`: it is one
 * of those whom the lines of all other peers keep from none of theirs.
 */
void log_write_by(struct log *log, struct log_share *by, const char *name,
		  bool reserved, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

#define log_err(log, ...) log_write(log, LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warn(log, ...) log_write(log, LOG_LEVEL_WARN, __VA_ARGS__)
#define log_notice(log, ...) log_write(log, LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(log, ...) log_write(log, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_write(log, LOG_LEVEL_DEBUG, __VA_ARGS__)

/* "err", "warn", ...; for messages and options. */
const char *log_level_name(enum log_level level);
/* `len` bytes of anybody's as printable ASCII with \xNN; cut to `size`, always
 * terminated. Returns `to`. */
char *log_escape(const void *bytes, size_t len, char *to, size_t size);

#endif
