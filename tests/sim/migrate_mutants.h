/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrate_mutants: deliberate faults of the handover, and of the accounts that
 * its messages are paid from, by name.
 *
 * Owns their list. Compiled in only where MIGRATE_MUTANTS is defined, which
 * is in tests/sim and for t_states; the one variable that selects a fault
 * belongs to the test program. Four are in no file of src: left_taken_along,
 * others_track, owner_unchecked and no_tombstone are faults of what stands in
 * tests/sim for the daemon, for ownership (own.c has the real one) and for the
 * kernel.
 */
#ifndef SACIPED_MIGRATE_MUTANTS_H
#define SACIPED_MIGRATE_MUTANTS_H

/* X(name, what it does wrong) */
#define MUTANT_LIST(X)                                                        \
	/* mover */                                                           \
	X(accept_skipped, "MOVE without accepting the new locator first")     \
	X(switch_before_accept, "sends from the new locator before ACCEPT")   \
	X(seq_ignored, "takes ACCEPT and DONE whatever their number")         \
	X(arrived_on_unchecked, "answers a challenge heard elsewhere")        \
	X(hold_skipped, "sends on when the locator is gone")                  \
	X(hold_not_released, "never lets held packets go")                    \
	X(gone_not_said, "does not tell that the old locator is gone")        \
	X(proved_forgotten, "drops what the peer may have committed")         \
	X(permit_unlimited, "sends on a lease that has run out")              \
	X(give_up_sends, "goes back to the old locator without asking")       \
	X(no_journal, "keeps no record")                                      \
	X(numbers_unpaced, "begins moves as fast as it is told to")           \
	X(pause_skipped, "asks again for what was refused, at once")          \
	X(try_skipped, "leaves a path that lives before the new one is tried") \
	X(untried_taken, "leaves it where no flow could try the new one")     \
	/* follower */                                                        \
	X(offer_not_accepted, "ACCEPT without acceptance in the kernel")      \
	X(challenge_to_old, "sends the challenge to the old locator")         \
	X(source_unchecked, "takes a MOVE from elsewhere than `to`")          \
	X(prove_unchecked, "takes any PROVE")                                 \
	X(stale_taken, "takes a MOVE with an old number")                     \
	X(gone_ignored, "sends to a locator declared gone")                   \
	X(gone_unheard, "hears of what is gone when it answers, not before")  \
	X(lease_never_ends, "accepts an offer for ever")                      \
	X(cancelled_dropped, "drops a cancelled offer at once")               \
	X(hold_not_released_by_peer, "never lets held packets go")            \
	X(doubt_never_ends, "holds for ever on the word of a SYNC")           \
	X(key_of_last_offer, "makes nonces by an offer that may be unheard")  \
	/* both */                                                            \
	X(drain_zero, "drops the old locator at once")                        \
	/* flows that enter */                                                \
	X(place_unchecked, "takes a flow into a track wherever that is")      \
	X(left_taken_along, "proves a MOVE that names a flow that has left")  \
	/* who may say what */                                                \
	X(jump_taken, "takes a number however far ahead it is")               \
	X(others_track, "takes a peer's word on the track of another")        \
	X(owner_unchecked, "gives a flow that is owned to who proves it")     \
	/* what may be sent where */                                          \
	X(account_uncharged, "pays nothing from the account of an address")   \
	X(own_unpaced, "speaks unasked as often as it likes")                 \
	X(reserve_open, "lets a peer use up what may be said to an address")  \
	X(always_valid, "takes an address for valid for ever")                \
	X(token_unchecked, "takes any answer to a PROBE")                     \
	/* executor of ACCEPT_DEL, for the invariant behind it */             \
	X(no_tombstone, "forgets a tuple that was accepted")

enum migrate_mutant {
	MUTANT_none,
#define X(name, what) MUTANT_##name,
	MUTANT_LIST(X)
#undef X
		MUTANTS
};

extern enum migrate_mutant migrate_mutant;

#endif
