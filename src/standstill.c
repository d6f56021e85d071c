/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * standstill: does a TCP sender stand still, and what makes it go on? See
 * standstill.h.
 */
#include "standstill.h"

#define BACKOFF_MAX 31 /* as far as a shift goes */

uint32_t standstill_base_ms(const struct sockdiag_info *info)
{
	unsigned int steps = info->backoff < BACKOFF_MAX ? info->backoff :
							   BACKOFF_MAX;

	return info->rto_us / 1000 >> steps;
}

uint32_t standstill_revert_ms(const struct sockdiag_info *info)
{
	uint32_t base = standstill_base_ms(info);

	return base > info->last_data_sent_ms ?
		       base - info->last_data_sent_ms :
		       0;
}

static uint32_t round_trip_ms(const struct sockdiag_info *info)
{
	uint32_t ms = info->rtt_us / 1000;

	return ms < STANDSTILL_MIN_MS ? ms : STANDSTILL_MIN_MS;
}

enum standstill_cure standstill_cure(const struct sockdiag_info *info)
{
	if (!info->unacked || !info->retransmits ||
	    info->expires_ms <= round_trip_ms(info))
		return STANDSTILL_NONE;
	if (info->backoff)
		return STANDSTILL_REVERT;
	/* What was sent just now may be on its way. */
	if (info->last_data_sent_ms < STANDSTILL_MIN_MS)
		return STANDSTILL_NONE;
	if (info->sack)
		return info->unacked > 1 ? STANDSTILL_BLOCK : STANDSTILL_NONE;
	return info->reordering && info->unacked > info->reordering &&
			       info->reordering <= STANDSTILL_DUPLICATES_MAX ?
		       STANDSTILL_DUPLICATES :
		       STANDSTILL_NONE;
}

/* It begins behind the first byte: TCP takes a block for a copy that begins
 * with it (RFC 2883), and the first of several segments ends behind it. */
struct standstill_block standstill_block(uint32_t mss, uint32_t rcv_nxt,
					 uint32_t snd_nxt)
{
	uint32_t missing = snd_nxt - rcv_nxt;

	if ((int32_t)missing < 2 || !mss)
		return (struct standstill_block){ 0 };
	return (struct standstill_block){
		.start = snd_nxt - (mss < missing ? mss : missing - 1),
		.end = snd_nxt,
	};
}
