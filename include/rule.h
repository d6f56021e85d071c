/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rule: the parts that an nftables table is made of, each one call.
 *
 * Owns the translation to libnftnl and netlink attributes. Never knows what
 * the table is for, never sends.
 *
 * A maker builds one rule at a time, from rule_start() to rule_end(); errors
 * stay in its batch, and everything after the first is ignored.
 */
#ifndef SACIPED_RULE_H
#define SACIPED_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct nftnl_rule;

struct maker {
	struct batch *batch;
	const char *table;
	struct nftnl_rule *rule; /* the one under construction */
	uint32_t set_id; /* of the last set; unique in a transaction */
};

/* flags: NFT_TABLE_F_*; del: of a table that is there. */
void rule_put_table(struct maker *m, uint32_t flags);
/*
 * The same, and what it is to be known by again: `len` bytes, at most
 * RULE_TAG_MAX, which the kernel keeps with the table (Linux 5.10) in the form
 * that nft(8) gives to what it does not know.
 */
#define RULE_TAG_MAX 32
#define RULE_TAG_TYPE 0xfa
void rule_put_tagged_table(struct maker *m, uint32_t flags,
			   const uint8_t *tag, uint8_t len);
void rule_put_table_del(struct maker *m);
void rule_put_chain(struct maker *m, const char *name);
/* hook: NF_INET_*; policy accept. */
void rule_put_base_chain(struct maker *m, const char *name, const char *type,
			 uint32_t hook, int32_t priority);
/* Of a chain without rules. */
void rule_put_chain_del(struct maker *m, const char *name);
/* Removes all rules of the chain. */
void rule_put_chain_flush(struct maker *m, const char *name);
void rule_put_counter(struct maker *m, const char *name);
/* key_type: nft(8)'s number of it. gc_ms 0: elements know no timeout. */
void rule_put_set(struct maker *m, const char *name, uint32_t key_type,
		  uint32_t key_len, uint32_t size, uint32_t gc_ms);
/* One whose elements come from rule_limit_each(), and go so long after the last
 * packet with their key. */
void rule_put_rate_set(struct maker *m, const char *name, uint32_t key_type,
		       uint32_t key_len, uint32_t size, uint32_t timeout_ms);
/* A map from such keys to `data_len` bytes of the type. Its elements count
 * what they match, where `counted` (Linux 5.11). */
void rule_put_map(struct maker *m, const char *name, uint32_t key_type,
		  uint32_t key_len, uint32_t data_type, uint32_t data_len,
		  uint32_t size, bool counted);
/* One from such keys to verdicts. */
void rule_put_verdict_map(struct maker *m, const char *name, uint32_t key_type,
			  uint32_t key_len, uint32_t size);
void rule_put_set_flush(struct maker *m, const char *name);

void rule_start(struct maker *m, const char *chain);
void rule_end(struct maker *m);

/* Into registers (NFT_REG_1, NFT_REG32_*). key: NFT_META_*; base:
 * NFT_PAYLOAD_*, offset and len in bytes. */
void rule_load_meta(struct maker *m, uint32_t key, uint32_t reg);
void rule_load_payload(struct maker *m, uint32_t base, uint32_t offset,
		       uint32_t len, uint32_t reg);
/* The type (RTN_*) of the source's or destination's address here. */
void rule_load_fib_type(struct maker *m, bool of_source, uint32_t reg);

/* The following work on what is in NFT_REG_1; the rule goes on where it
 * holds. op: NFT_CMP_*. */
void rule_compare_u8(struct maker *m, uint8_t value);
void rule_compare_be16(struct maker *m, uint16_t value);
void rule_compare_u32(struct maker *m, uint32_t op, uint32_t value);
void rule_compare_name(struct maker *m, const char *name); /* interface's */
void rule_look_up(struct maker *m, const char *set);
/* What a map holds for that key goes to the registers from NFT_REG_1 on; the
 * rule goes on where there is something. */
void rule_map(struct maker *m, const char *map);
/* The same into registers from `reg` on, the key is left in place;
 * NFT_REG_VERDICT: what it holds is done. */
void rule_map_to(struct maker *m, const char *map, uint32_t reg);
/*
 * Writes `len` bytes from the register at `offset` behind `base`. The IP
 * header's checksum is kept right by `checksum` (its offset in the same
 * header, or RULE_NO_CHECKSUM), TCP's and UDP's by `pseudo`, for addresses
 * (NFT_PAYLOAD_L4CSUM_PSEUDOHDR).
 */
#define RULE_NO_CHECKSUM UINT32_MAX
void rule_write_payload(struct maker *m, uint32_t reg, uint32_t base,
			uint32_t offset, uint32_t len, uint32_t checksum,
			bool pseudo);
/* Of a byte behind the transport header: (byte & mask) == value. */
void rule_match_transport_bits(struct maker *m, uint32_t offset, uint8_t mask,
			       uint8_t value);
/* Of an address of `len` bytes only these bits stay, a multiple of 8. */
void rule_keep_prefix(struct maker *m, uint32_t len, unsigned int bits);
/* The packet's mark has this bit or not / gets it / loses it; other bits
 * stay. */
void rule_match_mark(struct maker *m, uint32_t bit, bool set);
void rule_set_mark(struct maker *m, uint32_t bit);
void rule_clear_mark(struct maker *m, uint32_t bit);

void rule_count(struct maker *m, const char *counter);
/* NF_ACCEPT, NF_DROP, or NFT_JUMP, NFT_GOTO with a chain. */
void rule_verdict(struct maker *m, int code, const char *chain);
/* The rule goes on for so many packets a second, and as many at once. */
void rule_limit(struct maker *m, uint32_t per_second);
/* The rule goes on for what is more than that. */
void rule_limit_over(struct maker *m, uint32_t per_second);
/* The rule goes on for what is more than that of the key that is in NFT_REG_1,
 * each key counted by itself in the set. */
void rule_limit_each(struct maker *m, const char *rate_set,
		     uint32_t per_second);
/* To nfnetlink_queue, never with bypass: nobody there = silently dropped. */
void rule_queue_native(struct maker *m, uint16_t number);
void rule_queue_compat(struct maker *m, uint16_t number);
/* Divert to a local port; what counts is that it stands somewhere: its
 * presence turns on defragmentation in this network namespace. */
void rule_tproxy(struct maker *m, uint16_t port);

#endif
