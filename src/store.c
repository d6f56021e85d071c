/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store: the files of state_dir: the static key and the pins.
 *
 * Owns their form, permissions and safe replacement. Session keys and
 * counters are never written (a restored counter is a reused nonce).
 *
 *	key     two lines of base64: the private key, and a hash of the
 *	        machine id it was made on, so that a cloned image is noticed
 *	pins    see peer.h
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MACHINE_ID "/etc/machine-id"
#define MACHINE_ID_MAX 64
#define KEY_FILE_MAX 256
#define PINS_FILE_MAX (8u << 20)

/* Reads at most `size` - 1 bytes, NUL-terminated. The length or -errno. */
static ssize_t read_all(int fd, char *to, size_t size)
{
	size_t n = 0;

	while (n < size - 1) {
		ssize_t got = read(fd, to + n, size - 1 - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		n += (size_t)got;
	}
	to[n] = '\0';
	return (ssize_t)n;
}

static int write_all(int fd, const char *from, size_t n)
{
	while (n) {
		ssize_t put = write(fd, from, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		from += put;
		n -= (size_t)put;
	}
	return 0;
}

/* The whole new file or the old one, whatever happens meanwhile. */
static int replace_file(const char *path, const char *text, size_t len)
{
	char temp[PATH_MAX];
	int err;
	int fd;

	if (snprintf(temp, sizeof(temp), "%s.new", path) >= (int)sizeof(temp))
		return -ENAMETOOLONG;
	unlink(temp);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		  0600);
	if (fd < 0)
		return -errno;
	err = write_all(fd, text, len);
	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(temp, path))
		err = -errno;
	if (err)
		unlink(temp);
	return err;
}

/* Keyed by what it is for, so that the machine id itself is not told. */
static bool machine_hash(uint8_t hash[CRYPTO_KEY_SIZE])
{
	static const char label[] = "saciped machine";
	char id[MACHINE_ID_MAX];
	struct crypto_part part;
	ssize_t n;
	int fd = open(MACHINE_ID, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	n = read_all(fd, id, sizeof(id));
	close(fd);
	if (n <= 0)
		return false;
	part.data = id;
	part.len = (size_t)n;
	crypto_blake2b(hash, CRYPTO_KEY_SIZE, (const uint8_t *)label,
		       sizeof(label), &part, 1);
	return true;
}

static int write_key(const char *path, const struct crypto_keypair *key)
{
	char private_text[CRYPTO_KEY_TEXT_SIZE];
	char machine_text[CRYPTO_KEY_TEXT_SIZE] = "-";
	char text[KEY_FILE_MAX];
	uint8_t machine[CRYPTO_KEY_SIZE];
	int err;
	int n;

	crypto_key_to_text(key->private_key, private_text);
	if (machine_hash(machine))
		crypto_key_to_text(machine, machine_text);
	n = snprintf(text, sizeof(text), "%s\n%s\n", private_text,
		     machine_text);
	err = replace_file(path, text, (size_t)n);
	crypto_wipe(private_text, sizeof(private_text));
	crypto_wipe(text, sizeof(text));
	return err;
}

/* 0; 1: made on another machine; -EINVAL: not a key. */
static int parse_key(char *text, struct crypto_keypair *key)
{
	uint8_t private_key[CRYPTO_KEY_SIZE];
	uint8_t here[CRYPTO_KEY_SIZE];
	uint8_t there[CRYPTO_KEY_SIZE];
	char *second = strchr(text, '\n');
	char *end;

	if (!second)
		return -EINVAL;
	*second++ = '\0';
	end = strchr(second, '\n');
	if (!end || end[1] || crypto_key_from_text(text, private_key))
		return -EINVAL;
	*end = '\0';
	crypto_keypair_from_private(key, private_key);
	crypto_wipe(private_key, sizeof(private_key));
	if (!strcmp(second, "-"))
		return 0;
	if (crypto_key_from_text(second, there))
		return -EINVAL;
	return machine_hash(here) && !crypto_equal(here, there, sizeof(here));
}

/* Who is not root can mend nothing of root's: he is told to be root. */
static int not_ours(const char *path, uid_t owner, const char *fault,
		    const char *mend, char error[CONF_ERROR_MAX])
{
	const unsigned int uid = geteuid();

	if (uid && owner != uid)
		snprintf(error, CONF_ERROR_MAX,
			 "%s: belongs to uid %u, and this is uid %u; start "
			 "saciped as root", path, (unsigned int)owner, uid);
	else
		snprintf(error, CONF_ERROR_MAX, "%s: %s; chown it to uid %u "
			 "and %s", path, fault, uid, mend);
	return -EPERM;
}

static int open_key(const char *path, char error[CONF_ERROR_MAX])
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0) {
		int err = -errno;

		snprintf(error, CONF_ERROR_MAX, "%s: %s", path,
			 strerror(-err));
		return err;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		snprintf(error, CONF_ERROR_MAX, "%s: not a regular file",
			 path);
		close(fd);
		return -EINVAL;
	}
	if (st.st_uid != geteuid() || (st.st_mode & 077)) {
		close(fd);
		return not_ours(path, st.st_uid, "others may read it",
				"chmod 600, or remove it for a new key",
				error);
	}
	return fd;
}

int store_directory(const char *path, mode_t mode, char error[CONF_ERROR_MAX])
{
	struct stat st;

	if ((mkdir(path, mode) && errno != EEXIST) || stat(path, &st)) {
		int err = -errno;

		snprintf(error, CONF_ERROR_MAX, "%s: %s%s", path,
			 strerror(-err), err == -EACCES && geteuid() ?
			 "; start saciped as root" : "");
		return err;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(error, CONF_ERROR_MAX, "%s: not a directory", path);
		return -ENOTDIR;
	}
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return not_ours(path, st.st_uid, "others may write there",
				"chmod go-w", error);
	return 0;
}

int store_key(const char *state_dir, struct crypto_keypair *key,
	      char error[CONF_ERROR_MAX])
{
	char path[CONF_DIR_MAX + 8];
	char text[KEY_FILE_MAX];
	ssize_t n;
	int err;
	int fd;

	snprintf(path, sizeof(path), "%s/key", state_dir);
	err = store_directory(state_dir, 0700, error);
	if (err)
		return err;
	fd = open_key(path, error);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	err = 1;
	if (fd >= 0) {
		n = read_all(fd, text, sizeof(text));
		close(fd);
		err = n < 0 ? (int)n : parse_key(text, key);
		crypto_wipe(text, sizeof(text));
	}
	if (err < 0) {
		snprintf(error, CONF_ERROR_MAX,
			 "%s: does not hold a key; remove it for a new one",
			 path);
		return err;
	}
	if (!err)
		return 0;
	crypto_keypair_generate(key);
	err = write_key(path, key);
	if (err)
		snprintf(error, CONF_ERROR_MAX, "%s: cannot write: %s", path,
			 strerror(-err));
	return err ? err : fd >= 0 ? 2 : 1;
}

int store_pins_load(struct daemon *d)
{
	char path[CONF_DIR_MAX + 8];
	char *text;
	ssize_t n;
	int fd;
	int bad;

	snprintf(path, sizeof(path), "%s/pins", d->conf->state_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	text = malloc(PINS_FILE_MAX);
	if (!text) {
		close(fd);
		return -ENOMEM;
	}
	n = read_all(fd, text, PINS_FILE_MAX);
	close(fd);
	bad = n < 0 ? (int)n : peer_pins_load(d->peers, text, (size_t)n);
	free(text);
	if (bad > 0)
		log_warn(d->log, "%s: %d lines make no sense", path, bad);
	return bad < 0 ? bad : 0;
}

/* ---- pins, written aside ------------------------------------------------- */

/* One file on its way to the disk, which may take as long as it likes. */
struct store_pins {
	struct store_pins *next; /* an earlier one */
	char path[CONF_DIR_MAX + 8];
	char *text;
	size_t len;
	int err;
	atomic_bool done; /* the last thing that the thread touches */
};

static void write_pins(void *arg)
{
	struct store_pins *p = arg;

	p->err = replace_file(p->path, p->text, p->len);
	atomic_store(&p->done, true);
}

static int take_pins(struct daemon *d, struct store_pins *p)
{
	size_t size = peer_pins_size(d->peers);
	long len;

	p->text = malloc(size);
	if (!p->text)
		return -ENOMEM;
	len = peer_pins_save(d->peers, p->text, size);
	p->len = (size_t)len;
	snprintf(p->path, sizeof(p->path), "%s/pins", d->conf->state_dir);
	return len < 0 ? (int)len : 0;
}

int store_pins_save(struct daemon *d)
{
	struct store_pins *p = calloc(1, sizeof(*p));
	int err = p ? take_pins(d, p) : -ENOMEM;

	if (!err)
		err = aside_do(d->aside, write_pins, p);
	if (err) {
		if (p)
			free(p->text);
		free(p);
		return err;
	}
	p->next = d->pins_writes;
	d->pins_writes = p;
	return 0;
}

bool store_pins_check(struct daemon *d)
{
	struct store_pins **at = &d->pins_writes, *p;

	while ((p = *at)) {
		if (!atomic_load(&p->done)) {
			at = &p->next;
			continue;
		}
		if (p->err)
			log_warn(d->log, "cannot write pins: %s",
				 strerror(-p->err));
		*at = p->next;
		free(p->text);
		free(p);
	}
	return !d->pins_writes;
}
