# SPDX-License-Identifier: GPL-2.0-or-later
# Throughput and CPU time per byte, both against a direct connection.
set multiplot layout 2,1
set style fill solid 0.75 border -1
set boxwidth 0.6
set logscale y
set xtics noenhanced scale 0
set grid ytics
set bars small
unset key
set xrange [-0.6:*]
short(name) = strstrt(name, "saciped ") ? name[9:] : name
color(name) = strstrt(name, "direct") ? 0x808080 : \
	strstrt(name, "saciped") ? 0x2a7e43 : 0xb0703a

set title "Throughput of one connection, ratio to direct (more is better; green: saciped)"
set yrange [0.005:3]
plot "throughput" using 0:2:(color(strcol(1))):xtic(short(strcol(1))) with boxes \
	lc rgb variable, \
     "" using 0:2:3:4 with yerrorbars lc rgb "black" ps 0, \
     "" using 0:4:(sprintf("%.2g", $2)) with labels offset 0,0.6

set title "CPU time per gigabyte, ratio to direct (less is better)"
set yrange [0.5:500]
plot "cpu" using 0:2:(color(strcol(1))):xtic(short(strcol(1))) with boxes lc rgb variable, \
     "" using 0:2:3:4 with yerrorbars lc rgb "black" ps 0, \
     "" using 0:4:(sprintf("%.2g", $2)) with labels offset 0,0.6
unset multiplot
