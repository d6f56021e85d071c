/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * markuse: does somebody else's rule use our bit of the packet mark?
 *
 * Owns the reading of nftables rules, iptables-nft's among them, for that one
 * question. What it does not understand (maps, sets, BPF) it takes for none, and
 * x_tables of the legacy kind are not seen. Never changes a rule.
 */
#ifndef SACIPED_MARKUSE_H
#define SACIPED_MARKUSE_H

#include <stdbool.h>
#include <stdint.h>

#define MARKUSE_NAME_MAX 64

struct markuse {
	unsigned int rules; /* that use it; of the first: */
	const char *family; /* "ip", "inet", ... */
	char table[MARKUSE_NAME_MAX], chain[MARKUSE_NAME_MAX];
	uint64_t handle;
};

/* Whoever tests it alone or with a few others, or wants to see it set: not one
 * who compares a whole mark in which it is not set. */
bool markuse_tests(uint32_t value, uint32_t mask, uint32_t bit);

/* Asks the kernel once. 0 or -errno. */
int markuse_look(uint32_t bit, struct markuse *to);

#endif
