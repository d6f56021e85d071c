# SPDX-License-Identifier: GPL-2.0-or-later
# What grows with the number of connections of one peer, and how.
set title "The cost of many connections of one peer, ms"
set logscale xy
set format "%.0f"
set format y "%g"
set xlabel "connections (or elements)"
set grid
set key outside right
set bars small
plot "many" using 1:2 with linespoints pt 7 lw 2 lc rgb "#1a7a35" \
	title "a move of all of them", \
     "" using 1:4 with linespoints pt 7 lw 2 lc rgb "#8fbf30" \
	title "the last of their echoes after it", \
     "" using 1:3 with linespoints pt 7 lw 2 lc rgb "#50a0e0" \
	title "sacipctl list", \
     "elements" using 1:2:3:4 with yerrorlines pt 7 lw 2 lc rgb "#909090" \
	title "map elements into the kernel and out", \
     "paper" using 1:($3+$4) with linespoints pt 6 dt 3 lw 2 \
	lc rgb "#1a7a35" title "a move, both daemons*", \
     "" using 1:2 with linespoints pt 6 dt 3 lw 2 lc rgb "#c06020" \
	title "a dump, nothing new*", \
     "" using 1:5 with linespoints pt 6 dt 3 lw 2 lc rgb "#50a0e0" \
	title "list, the daemon*", \
     "" using 1:6 with linespoints pt 6 dt 3 lw 2 lc rgb "#9040a0" \
	title "a restart*", \
     [100:100000] x/1000 dt 2 lc rgb "#bbbbbb" title "in proportion", \
     NaN with points ps 0 title "* processor time on a kernel of paper"
