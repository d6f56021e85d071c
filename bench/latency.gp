# SPDX-License-Identifier: GPL-2.0-or-later
# 64 bytes there and back: the median of the rounds, with their range.
short(name) = strstrt(name, "saciped ") ? name[9:] : name
set title "64 bytes there and back, microseconds (less is better)"
set style fill solid 0.75 border -1
set boxwidth 0.36
set logscale y
set yrange [5:*]
set xrange [-0.6:*]
set xtics noenhanced scale 0
set grid ytics
set bars small
set key top left
plot "latency" using ($0-0.18):2 with boxes lc rgb "#2a7e43" \
	title "half of them take at most", \
     "" using ($0+0.18):5 with boxes lc rgb "#9fc5a8" \
	title "99 of 100 take at most", \
     "" using 0:2:xtic(short(strcol(1))) with points ps 0 notitle, \
     "" using ($0-0.18):2:3:4 with yerrorbars lc rgb "black" ps 0 notitle, \
     "" using ($0+0.18):5:6:7 with yerrorbars lc rgb "black" ps 0 notitle
