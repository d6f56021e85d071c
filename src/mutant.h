/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mutant: deliberate faults for tests/sim, which must notice each of them, and
 * for tests/unit/t_states: of the handover, or of the proofs.
 *
 * Owns the one word by which a fault is chosen. In every build but that of
 * these MUTANT() is false and the fault is not compiled in.
 */
#ifndef SACIPED_MUTANT_H
#define SACIPED_MUTANT_H

#ifdef MIGRATE_MUTANTS
#include "migrate_mutants.h"
#define MUTANT(name) (migrate_mutant == MUTANT_##name)
#elif defined(CLAIM_MUTANTS)
#include "claim_mutants.h"
#define MUTANT(name) (claim_mutant == MUTANT_##name)
#else
#include <stdbool.h>
#define MUTANT(name) false
#endif

#endif
