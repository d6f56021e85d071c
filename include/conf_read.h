/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conf_read: values of libconfig settings, checked, into struct conf.
 *
 * Owns the shape and limits of every kind of value and the words of its
 * errors. Private to conf: nobody else includes it.
 */
#ifndef SACIPED_CONF_READ_H
#define SACIPED_CONF_READ_H

#include "conf.h"

#include <libconfig.h>

struct conf_reader {
	const char *name; /* of the file, for errors */
	char *error;	  /* CONF_ERROR_MAX */
	struct conf *conf;
};

struct conf_key {
	const char *name;
	/* 0, or -errno with r->error written. */
	int (*read)(struct conf_reader *r, const config_setting_t *s,
		    const struct conf_key *k);
	size_t offset;	  /* of the member in struct conf */
	size_t size;	  /* of the member; 0 where SIGHUP may change it */
	int64_t min, max; /* numbers only */
};

/* Writes "FILE:LINE: ..." (line 0: "FILE: ...") as one printable line;
 * returns -EINVAL. */
int conf_read_fail(const struct conf_reader *r, unsigned int line,
		   const char *format, ...)
	__attribute__((format(printf, 3, 4)));

int conf_read_u32(struct conf_reader *r, const config_setting_t *s,
		  const struct conf_key *k);
int conf_read_u16(struct conf_reader *r, const config_setting_t *s,
		  const struct conf_key *k);
int conf_read_mark(struct conf_reader *r, const config_setting_t *s,
		   const struct conf_key *k);
int conf_read_table(struct conf_reader *r, const config_setting_t *s,
		    const struct conf_key *k);
int conf_read_bool(struct conf_reader *r, const config_setting_t *s,
		   const struct conf_key *k);
int conf_read_dir(struct conf_reader *r, const config_setting_t *s,
		  const struct conf_key *k);
int conf_read_rewrite(struct conf_reader *r, const config_setting_t *s,
		      const struct conf_key *k);
int conf_read_first_contact(struct conf_reader *r, const config_setting_t *s,
			    const struct conf_key *k);
int conf_read_prefixes(struct conf_reader *r, const config_setting_t *s,
		       const struct conf_key *k);
int conf_read_rules(struct conf_reader *r, const config_setting_t *s,
		    const struct conf_key *k);
int conf_read_keys(struct conf_reader *r, const config_setting_t *s,
		   const struct conf_key *k);
int conf_read_peers(struct conf_reader *r, const config_setting_t *s,
		    const struct conf_key *k);

#endif
