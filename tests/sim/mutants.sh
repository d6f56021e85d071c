#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Every deliberate fault of the handover must be noticed by the simulation.
mutants=$(tests/sim/sim --list-mutants | cut -f1 -d' ') || exit 1
number=0
for name in $mutants; do
	number=$((number + 1))
	if said=$(tests/sim/sim --schedules "${MUTANT_SCHEDULES:-20000}" \
		--mutant "$name" 2>&1); then
		echo "ok $number - $name is noticed"
		echo "$said" | sed 's/^#* */# /'
	else
		echo "$said" | sed 's/^#* */# /'
		echo "not ok $number - $name is noticed"
	fi
done
echo "1..$number"
