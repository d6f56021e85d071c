#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The simulation of ownership: a twentieth of SIM_SCHEDULES (60,000) random
# schedules from SIM_SEED on (1), and each deliberate fault, which it must notice.
schedules=$((${SIM_SCHEDULES:-60000} / 20))
if said=$(tests/sim/own --schedules $schedules --seed "${SIM_SEED:-1}"); then
	echo "ok 1 - who owns a flow, in $schedules schedules"
else
	echo "not ok 1 - who owns a flow, in $schedules schedules"
fi
echo "$said" | grep '^#'
number=1
for name in $(tests/sim/own --list-mutants | cut -f1 -d' '); do
	number=$((number + 1))
	if said=$(tests/sim/own --schedules "${MUTANT_SCHEDULES:-20000}" \
		--mutant "$name"); then
		echo "ok $number - $name is noticed"
	else
		echo "not ok $number - $name is noticed"
	fi
	echo "# $said"
done
echo "1..$number"
