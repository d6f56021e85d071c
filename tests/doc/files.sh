#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The manuals, the systemd unit and the shell scripts are free of warnings, and
# the README names every module.
top=${srcdir:-.}
number=0

result() { # STATUS NAME [DIRECTIVE]
	number=$((number + 1))
	[ "$1" -eq 0 ] || printf 'not '
	echo "ok $number - $2${3:+ # SKIP $3}"
}

# check TOOL NAME COMMAND...: fails where COMMAND fails or says anything.
check() {
	local tool=$1 name=$2 said
	shift 2
	if ! command -v "$tool" >/dev/null; then
		result 0 "$name" "no $tool here"
		return
	fi
	said=$("$@" 2>&1)
	local err=$?
	[ -z "$said" ] || {
		echo "# ${said//$'\n'/$'\n'# }"
		err=1
	}
	result $err "$name"
}

for page in "$top"/man/*.[1-8]; do
	check mandoc "${page##*/} has no warnings" \
		mandoc -Tlint -Wwarning "$page"
done

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# The program need not be installed for this.
sed 's|@sbindir@/saciped|/bin/true|' "$top/systemd/saciped.service.in" \
	>"$work/saciped.service"
check systemd-analyze "saciped.service is a good unit" \
	systemd-analyze verify --man=no "$work/saciped.service"
exposed() { # says something above 3.0 only
	systemd-analyze security --offline=yes --threshold=30 --no-pager \
		"$work/saciped.service" >"$work/said" 2>&1 || tail -n 1 "$work/said"
}
check systemd-analyze "saciped.service is hardened" exposed
# Whoever runs `systemctl reload` hears of an error in the file.
reloads() {
	sed -n 's/^ExecReload=//p' "$top/systemd/saciped.service.in" |
		head -n 1 | grep -qx '@sbindir@/saciped -t' ||
		echo "ExecReload does not check the configuration first"
}
check sed "a reload checks the configuration first" reloads

unnamed() {
	local file name
	for file in "$top"/src/*.c; do
		name=$(basename "$file" .c)
		sed -n '/^## Design/,/^## Figures/p' "$top/README.md" |
			grep -q "\`$name\`" || echo "$name"
	done
}
check sed "the README's Design names every src/*.c" unnamed

# The names in the table of SECURITY.md are of tests, or of their folders.
proofs() {
	# shellcheck disable=SC2016
	grep '^|' "$top/SECURITY.md" | awk -F' *[|] *' '{ print $4 }' |
		grep -o '`[^`]*`' | tr -d '`' | sort -u
}
unproved() {
	local name
	proofs | while read -r name; do
		[ -e "$top/$name" ] || [ -e "$top/tests/$name" ] ||
			[ -e "$top/tests/lab/scenarios/$name.py" ] ||
			grep -rqE "(def |\()$name\>" "$top/tests/lab/scenarios" \
				"$top/tests/unit" "$top/tests/adapter" ||
				echo "no such test: $name"
	done
}
check grep "SECURITY.md names tests that there are" unproved
# Those that it says are long, and no others.
mistimed() {
	# shellcheck disable=SC2016
	diff <(grep -o '`[^`]*` (long)' "$top/SECURITY.md" |
			sed 's/`\(.*\)`.*/\1/' | sort -u) \
		<(proofs | grep -xFf <(grep -hA1 'long=True' \
			"$top"/tests/lab/scenarios/*.py |
			sed -n 's/^def \([a-z0-9_]*\)(.*/\1/p'))
}
check grep "SECURITY.md says which of its tests are long" mistimed

# says FILE SECTION LINE NAME: exactly that line, once, in that section ("" in
# front of all).
says() {
	local n
	n=$(awk -v section="${2:+[$2]}" -v line="$3" '/^\[/ { now = $0 }
		now == section && $0 == line { n++ }
		END { print n + 0 }' "$top/systemd/$1")
	[ "$n" -eq 1 ] || echo "# $1: $n lines $3${2:+ in [$2]}"
	[ "$n" -eq 1 ]
	result $? "$4"
}
says saciped.service.in Unit StartLimitIntervalSec=0 \
	"who waits in the kernel has a daemon again, however often one ends"
says saciped.service.in Service Restart=on-failure \
	"a daemon that has crashed is started again"
says saciped.service.in Service RestartKillSignal=SIGUSR2 \
	"a restart leaves what has moved to the next daemon"
says saciped.service.in Service RuntimeDirectoryPreserve=yes \
	"the journal outlives a restart"
sink=$(sed -n 's/^#define ROUTE_SINK "\(.*\)"$/\1/p' "$top/include/route.h")
says 00-sacip-sink.network Match "Name=$sink" "networkd knows our device"
says 00-sacip-sink.network Link Unmanaged=yes "networkd leaves it alone"
says 00-sacip-sink.network Link RequiredForOnline=no \
	"the boot does not wait for it"
says 50-sacip-sink.conf device-sacip-sink "match-device=interface-name:$sink" \
	"NetworkManager knows our device"
says 50-sacip-sink.conf device-sacip-sink managed=0 \
	"NetworkManager leaves it alone"
for which in all default; do
	says 50-saciped.conf "" "net.ipv4.conf.$which.src_valid_mark = 1" \
		"src_valid_mark is set: $which"
done

# A distribution carries no .ci.
for script in quickstart .ci/run autogen.sh tests/tap tests/doc/files.sh \
	tests/doc/install.sh tests/doc/bounds.sh \
	tests/sim/schedules.sh tests/sim/mutants.sh tests/sim/own.sh \
	tests/vm/init tests/vm/run tests/vm/suite doc/model/run; do
	[ -e "$top/$script" ] || continue
	check shellcheck "$script has no warnings" shellcheck "$top/$script"
done
echo "1..$number"
