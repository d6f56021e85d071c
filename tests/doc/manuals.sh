#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The manuals are free of warnings, and so are the unit and the scripts.
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
	[ -n "$said" ] && { sed 's/^/# /' <<<"$said"; err=1; }
	result $err "$name"
}

for page in "$top"/man/*.[1-8]; do
	check mandoc "${page##*/} has no warnings" \
		mandoc -Tlint -Wwarning "$page"
done
echo "1..$number"
