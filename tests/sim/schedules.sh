#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The simulation of the handover: SIM_SCHEDULES random schedules (1,000) from
# SIM_SEED on (1: the same ones each time), in SIM_JOBS processes (one for each
# processor).
exec tests/sim/sim --schedules "${SIM_SCHEDULES:-1000}" \
	--seed "${SIM_SEED:-1}" --jobs "${SIM_JOBS:-$(nproc)}"
