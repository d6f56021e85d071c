/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim_mutants: deliberate faults of the proofs of ownership, by name.
 *
 * Owns their list. Compiled in only where CLAIM_MUTANTS is defined, which is for
 * tests/sim/own; the one variable that selects a fault belongs to that.
 */
#ifndef SACIPED_CLAIM_MUTANTS_H
#define SACIPED_CLAIM_MUTANTS_H

/* X(name, what it does wrong) */
#define MUTANT_LIST(X)                                                        \
	/* nonces */                                                          \
	X(keys_unbound, "makes tags and answers without the keys")            \
	X(tag_unchecked, "takes any nonce for the one that was named")        \
	X(answer_unchecked, "takes any nonce for the answer")                 \
	/* receipts */                                                        \
	X(receipt_unchecked, "takes any receipt")                             \
	X(receipt_begins, "compares what can be told of an answer")           \
	X(unsent_taken, "takes a receipt of what was never sent")             \
	X(numbers_unchecked, "takes whatever numbers arrived")                \
	/* who may say what */                                                \
	X(owner_unchecked, "gives a flow that is owned to who proves it")     \
	X(met_unchecked, "tells who was never met there what there is")       \
	X(word_taken, "refuses a claim whose nonce another key names")        \
	X(path_unchecked, "owns by a path that was not looked at")            \
	/* what both know */                                                  \
	X(deny_skipped, "gives up what the other end owns, and does not say") \
	X(expect_skipped, "lets nonces go to the socket")

enum claim_mutant {
	MUTANT_none,
#define X(name, what) MUTANT_##name,
	MUTANT_LIST(X)
#undef X
		MUTANTS
};

extern enum claim_mutant claim_mutant;

#endif
