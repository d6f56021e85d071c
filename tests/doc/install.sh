#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# `make install` and `make uninstall` in a folder of their own: the
# configuration that an administrator has changed is left alone.
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
number=0

result() { # STATUS NAME
	number=$((number + 1))
	[ "$1" -eq 0 ] || printf 'not '
	echo "ok $number - $2"
}

run() { # TARGET: in the build directory, as a user would
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make "$1" DESTDIR="$work" \
		>"$work/log" 2>&1 || { sed 's/^/# /' "$work/log"; return 1; }
}

run install
result $? "make install"
conf=$(find "$work" -path '*/saciped/saciped.conf')
[ -n "$conf" ] && cmp -s "$conf" "${srcdir:-.}/conf/saciped.conf"
result $? "a first installation has a configuration"
echo 'port = 2042;' >"$conf"
run install && [ "$(cat "$conf")" = 'port = 2042;' ]
result $? "an upgrade leaves a changed configuration alone"
[ -n "$(find "$work" -path '*/examples/saciped.conf')" ]
result $? "the one of this version lies beside the manual"
run uninstall && [ "$(cat "$conf")" = 'port = 2042;' ]
result $? "an uninstallation leaves it, too"
rm -f "$conf" "$work/log"
[ -z "$(find "$work" -type f)" ]
result $? "and nothing else"
find "$work" -type f | sed "s|^$work|# |"
echo "1..$number"
