# SPDX-License-Identifier: GPL-2.0-or-later
# Of how many moves was the longest gap no longer than that?
set multiplot layout 1,2
set logscale x
set yrange [0:1.02]
set grid
set xlabel "ms"
set ylabel "share of the moves"
set key below maxcols 3 noenhanced
cases(panel) = system(sprintf("cut -d ' ' -f 1 %s", panel))
label(panel, case) = system(sprintf("sed -n 's/^%s //p' %s", case, panel))
color(case) = case eq "direct" ? 0x909090 : case eq "unmoved" ? 0x50a0e0 : \
	case eq "kernel" ? 0x1a7a35 : case eq "queue" ? 0x8fbf30 : \
	case eq "mptcp" ? 0xd03030 : case eq "wireguard" ? 0xb06ad0 : \
	case eq "openvpn" ? 0xe09020 : 0x705030

set title "make before break: longest gap"
set xrange [1:1000]
plot for [c in cases("make")] "make.".c using 1:2 with steps lw 2 \
	lc rgb color(c) title label("make", c)
set title "break before make: gap beyond the outage"
set xrange [0.5:2000]
plot for [c in cases("beyond")] "beyond.".c using 1:2 with steps lw 2 \
	lc rgb color(c) title label("beyond", c)
unset multiplot
