#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The README's table of bounds against the sources: each bound has a share and a
# reserve, or says why none is needed; each constant that it names is there;
# each constant of the sources whose name ends as those of bounds and rates do is
# in it, or in bounds.forms as no bound of this kind; and each file that makes a pool (share_pool_init()) is named by a row
# that has a share. Then faults are planted, each of which must be found.
top=${srcdir:-.}
number=0

result() { # STATUS NAME
	number=$((number + 1))
	[ "$1" -eq 0 ] || printf 'not '
	echo "ok $number - $2"
}

rows() { # README: the table without its head
	awk '/^### Bounds/ { on = 1 } /^### What the loop/ { on = 0 }
		on && /^\|/ && ++n > 2' "$1"
}

# README: rows without a cell, or with `none` and no reason of three words.
unreasoned() {
	rows "$1" | awk -F' *[|] *' 'NF != 7 { print "not 5 cells: " $0; next }
		{ for (i = 2; i <= 6; i++) if ($i == "") print "empty: " $0 }
		{ for (i = 4; i <= 5; i++)
			if ($i ~ /^none/ && ($i !~ /^none: / ||
			    split($i, w, " ") < 3)) print "no reason: " $0 }'
}

places() { # README: what stands in the last column, one a line
	# shellcheck disable=SC2016
	rows "$1" | awk -F' *[|] *' '{ print $6 }' | grep -o '`[^`]*`' |
		tr -d '`' | sort -u
}

constants() { # DIRECTORY
	grep -hoE '^#define +[A-Z0-9_]+' "$1"/include/*.h "$1"/src/*.[ch] |
		awk '{ print $2 }' | sort -u
}

# README DIRECTORY: constants and files that the table names and are not there.
unknown() {
	local name
	constants "$2" >"$work/constants"
	while read -r name; do
		case $name in
		*.c) [ -e "$2/src/$name" ] ;;
		[A-Z]*) grep -qx "$name" "$work/constants" ;;
		*) grep -q "\"$name\"" "$2/src/conf.c" "$2/src/conf_read.c" ;;
		esac || echo "in the table only: $name"
	done < <(places "$1")
}

bound_ends='MAX|PER_S|RATE|BURST|TOKENS|WINDOW|RESERVE|SHARE'

# README DIRECTORY FORMS: constants with these ends that are neither in the
# table nor a form.
unlisted() {
	local name form kind
	places "$1" >"$work/places"
	constants "$2" | grep -E "_($bound_ends)\$" | while read -r name; do
		grep -qx "$name" "$work/places" && continue
		while read -r form kind; do
			# shellcheck disable=SC2254
			case $name in
			'#'*) ;;
			$form) [ -n "$kind" ] && continue 2 ;;
			esac
		done <"$3"
		echo "not in the table: $name"
	done
}

# README DIRECTORY: files with a pool that no row with a share names.
unshared() {
	local file
	grep -l 'share_pool_init(' "$2"/src/*.c | while read -r file; do
		file=${file##*/}
		[ "$file" = share.c ] && continue
		rows "$1" | awk -F' *[|] *' '$4 !~ /^none/ { print $6 }' |
			grep -q "\`$file\`" || echo "no share in the table: $file"
	done
}

said() { # README DIRECTORY FORMS
	unreasoned "$1"
	unknown "$1" "$2"
	unlisted "$1" "$2" "$3"
	unshared "$1" "$2"
}

holds() { # README DIRECTORY FORMS NAME
	local text
	text=$(said "$1" "$2" "$3")
	[ -z "$text" ] || echo "# ${text//$'\n'/$'\n'# }"
	[ -z "$text" ]
	result $? "$4"
}

# NAME WORD: what was planted is said, and with that word.
found() {
	said "$work/README.md" "$work" "$work/forms" | grep -q "$2"
	result $? "$1"
	plant
}

plant() { # a fresh copy
	cp "$top/README.md" "$work/README.md"
	cp "$top/tests/doc/bounds.forms" "$work/forms"
	rm -rf "$work/include" "$work/src"
	cp -r "$top/include" "$top/src" "$work"
	chmod -R u+w "$work"
}

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
holds "$top/README.md" "$top" "$top/tests/doc/bounds.forms" \
	"each bound has a share and a reserve, or says why not"
plant
sed -i '/^| tracks |/s/| none: each has its own |/| |/' "$work/README.md"
found "a row without a share is found" "empty: | tracks"
sed -i '/^| tracks |/s/none: each has its own/none/' "$work/README.md"
found "a row without a reason is found" "no reason: | tracks"
sed -i '/^| tracks |/d' "$work/README.md"
found "a bound that the table lacks is found" "not in the table: TRACKS_MAX"
echo '#define PLANTED_MAX 7' >>"$work/src/pairs.c"
found "a new bound is found" "not in the table: PLANTED_MAX"
for end in PER_S RATE BURST TOKENS WINDOW RESERVE SHARE; do
	echo "#define PLANTED_$end 7" >>"$work/src/pairs.c"
	found "a new rate is found, *_$end" "not in the table: PLANTED_$end"
done
sed -i 's/FLOW_TOMBSTONES_MAX/FLOW_GRAVES_MAX/' "$work"/include/*.h
found "a bound that is no more is found" "only: FLOW_TOMBSTONES_MAX"
sed -i '/^| pairs of addresses between/s/| a sixteenth |/| none: because it is so |/' \
	"$work/README.md"
found "a pool without a share is found" "no share in the table: pairs.c"
echo "1..$number"
