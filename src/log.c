/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log: one line for people per thing worth knowing.
 *
 * Owns the levels, the form of a line and the limit on repetition. Never
 * waits, never grows, never lets a peer's bytes reach a terminal.
 */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct site {
	const char *format; /* NULL: unused */
	uint64_t since_ms;
	unsigned written, left_out;
};

struct log {
	int fd;
	enum log_level level;
	bool journal;
	unsigned lost; /* lines, since one was written */
	struct site sites[LOG_SITES_MAX];
};

static const struct {
	const char *name;
	int syslog; /* sd-daemon(3) */
} levels[] = {
	[LOG_LEVEL_ERR] = { "err", 3 },
	[LOG_LEVEL_WARN] = { "warn", 4 },
	[LOG_LEVEL_NOTICE] = { "notice", 5 },
	[LOG_LEVEL_INFO] = { "info", 6 },
	[LOG_LEVEL_DEBUG] = { "debug", 7 },
};

const char *log_level_name(enum log_level level)
{
	return levels[level].name;
}

char *log_escape(const void *bytes, size_t len, char *to, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *in = bytes;
	size_t at = 0;

	if (size == 0)
		return to;
	for (size_t i = 0; i < len; i++) {
		bool plain = in[i] >= 0x20 && in[i] < 0x7f;

		if (at + (plain ? 1 : 4) >= size)
			break;
		if (plain) {
			to[at++] = (char)in[i];
			continue;
		}
		to[at++] = '\\';
		to[at++] = 'x';
		to[at++] = hex[in[i] >> 4];
		to[at++] = hex[in[i] & 15];
	}
	to[at] = '\0';
	return to;
}

/* JOURNAL_STREAM is "device:inode" of what the manager gave us as stderr;
 * after a redirection it is still set, but no longer true. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

int log_open(struct log **out, int fd, enum log_level level)
{
	struct log *log = calloc(1, sizeof(*log));

	if (!log)
		return -ENOMEM;
	log->fd = fd;
	log->level = level;
	log->journal = is_journal(fd);
	*out = log;
	return 0;
}

void log_close(struct log *log)
{
	free(log);
}

void log_set_level(struct log *log, enum log_level level)
{
	log->level = level;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The site of this format, or the one that has been quiet the longest. */
static struct site *find_site(struct log *log, const char *format)
{
	struct site *oldest = &log->sites[0];

	for (size_t i = 0; i < LOG_SITES_MAX; i++) {
		struct site *s = &log->sites[i];

		if (s->format == format)
			return s;
		if (!s->format ||
		    (oldest->format && s->since_ms < oldest->since_ms))
			oldest = s;
		if (!s->format)
			break;
	}
	memset(oldest, 0, sizeof(*oldest));
	oldest->format = format;
	return oldest;
}

/* Whether the line may be written; `left_out` then tells how many of its kind
 * were not, before it. */
static bool admit(struct log *log, const char *format, unsigned burst,
		  uint64_t now, unsigned *left_out)
{
	struct site *s = find_site(log, format);

	*left_out = 0;
	if (s->written == 0 || now - s->since_ms >= LOG_INTERVAL_MS) {
		*left_out = s->left_out;
		s->since_ms = now;
		s->written = s->left_out = 0;
	}
	if (s->written >= burst) {
		s->left_out++;
		return false;
	}
	s->written++;
	return true;
}

/* A journal that stands still, a terminal that was stopped: neither may stop
 * us. The descriptor is others', too, and stays as it is: where it has room
 * now a line fits (a page of a pipe, three quarters of a socket's buffer). */
static bool has_room(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) > 0;
}

/* One write() for a line, so that lines of several processes do not mix.
 * Nobody can be told where it fails. */
static void write_line(struct log *log, enum log_level level, const char *text)
{
	char line[LOG_LINE_MAX + 16];
	int n;

	if (!has_room(log->fd)) {
		log->lost++;
		return;
	}
	if (log->journal)
		n = snprintf(line, sizeof(line), "<%d>%s\n",
			     levels[level].syslog, text);
	else
		n = snprintf(line, sizeof(line), "%s: %s\n",
			     levels[level].name, text);
	if (n > 0 && write(log->fd, line, (size_t)n) < 0)
		return;
}

static void tell_lost(struct log *log)
{
	unsigned lost = log->lost;
	char text[64];

	if (!lost)
		return;
	log->lost = 0;
	snprintf(text, sizeof(text), "%u lines were lost: nobody read them",
		 lost);
	write_line(log, LOG_LEVEL_WARN, text);
	if (log->lost)
		log->lost = lost;
}

static void write_text(struct log *log, enum log_level level,
		       const char *format, va_list ap)
	__attribute__((format(printf, 3, 0)));

static void write_text(struct log *log, enum log_level level,
		       const char *format, va_list ap)
{
	char raw[LOG_LINE_MAX], text[LOG_LINE_MAX];
	int n;

	n = vsnprintf(raw, sizeof(raw), format, ap);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(raw))
		n = (int)sizeof(raw) - 1;
	write_line(log, level, log_escape(raw, (size_t)n, text, sizeof(text)));
}

static void tell_left_out(struct log *log, enum log_level level, unsigned n)
{
	char text[64];

	tell_lost(log);
	if (!n)
		return;
	snprintf(text, sizeof(text), "%u more like the next line were left out",
		 n);
	write_line(log, level, text);
}

void log_write_va(struct log *log, enum log_level level, const char *format,
		  va_list ap)
{
	unsigned left_out = 0;

	if (!log || level > log->level)
		return;
	if (level != LOG_LEVEL_DEBUG &&
	    !admit(log, format, LOG_BURST, now_ms(), &left_out))
		return;
	tell_left_out(log, level, left_out);
	write_text(log, level, format, ap);
}

/* What was left out of the peer's, in front of its next line. */
static void tell_share(struct log *log, struct log_share *by, const char *name,
		       enum log_level level)
{
	char raw[LOG_LINE_MAX], text[LOG_LINE_MAX];
	int n;

	if (!by->left_out)
		return;
	n = snprintf(raw, sizeof(raw), "%u more lines about %s were left out",
		     by->left_out, name);
	by->left_out = 0;
	if (n > 0)
		write_line(log, level,
			   log_escape(raw, strlen(raw), text, sizeof(text)));
}

void log_write_by(struct log *log, struct log_share *by, const char *name,
		  bool reserved, enum log_level level, const char *format, ...)
{
	static const struct bucket_kind lines = {
		.burst = LOG_PEER_BURST,
		.token_ms = LOG_PEER_TOKEN_MS,
	};
	uint64_t now = now_ms();
	unsigned left_out = 0;
	va_list ap;

	if (!log || level > log->level)
		return;
	if (level != LOG_LEVEL_DEBUG) {
		if (!bucket_take(&by->lines, &lines, now)) {
			by->left_out++;
			return;
		}
		if (!reserved && !admit(log, format, LOG_PEERS_BURST, now,
					&left_out))
			return;
		tell_left_out(log, level, left_out);
		tell_share(log, by, name, level);
	}
	va_start(ap, format);
	write_text(log, level, format, ap);
	va_end(ap);
}

void log_write(struct log *log, enum log_level level, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_write_va(log, level, format, ap);
	va_end(ap);
}
