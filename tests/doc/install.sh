#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# `make install` and `make uninstall` in a folder of their own: the
# configuration that an administrator has changed is left alone.
top=${srcdir:-.}
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
[ -n "$conf" ] && cmp -s "$conf" "$top/conf/saciped.conf"
result $? "a first installation has a configuration"
# lies FILE DIRECTORY: where its reader looks, whatever the prefix is.
lies() {
	local found
	found=$(find "$work" -path "*/$2/${1##*/}")
	[ -n "$found" ] && cmp -s "$found" "$1"
	result $? "${1##*/} lies in $2"
}
lies "$top/systemd/00-sacip-sink.network" systemd/network
lies "$top/systemd/50-sacip-sink.conf" NetworkManager/conf.d
lies "$top/systemd/50-saciped.conf" sysctl.d
if grep -q '^systemdsystemunitdir = no$' Makefile; then
	result 0 "no unit is wanted"
else
	lies systemd/saciped.service systemd/system
	started=$(sed -n 's/^ExecStart=//p' systemd/saciped.service)
	[ -n "$started" ] && [ -x "$work$started" ]
	result $? "the unit starts what was installed"
fi
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
