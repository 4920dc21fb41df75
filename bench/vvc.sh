#!/usr/bin/env bash
# Compares the H.266 encoder and decoder of lamina with VVenC and vvdec, plane by plane:
# bench/vvc.sh VVENCAPP VVDECAPP [PLANE_WxH.yuv...]
# Planes are bytes, one sample each; lamina pack --export-planes writes such. Without any, one of 1024x1024 independent
# Gaussian samples is made. Every run is one thread, timed in seconds of processor. VVenC computes with 10 bits, so lamina
# gets the samples as 10 bits too; each decodes its own stream. bits(eq) is what lamina needs, between two QPs, for the
# NMSE of the VVenC row.
# QPS sets VVenC's parameters; its slices have 3 less. LAMINA is the program (default ./lamina). Needs python3.
set -euo pipefail
vvenc=$1 vvdec=$2
shift 2
lamina=${LAMINA:-./lamina}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export TIMEFORMAT=%U

if [ $# -eq 0 ]; then
	set -- "$dir/gauss_1024x1024.yuv"
	python3 - "$1" <<'P'
import random, sys
r = random.Random(1)
open(sys.argv[1], "wb").write(bytes(min(max(round(128 + 25.2 * r.gauss(0, 1)), 0), 255) for _ in range(1 << 20)))
P
fi

# measure PLANE DECODED STREAM: bits a sample and NMSE of 10-bit samples against the plane.
measure() {
	python3 - "$@" <<'P'
import array, os, sys
x = open(sys.argv[1], "rb").read()
y = array.array("H", open(sys.argv[2], "rb").read())
n = len(x)
mean = sum(x) / n
var = sum((v - mean) ** 2 for v in x) / n
mse = sum((v - w / 4) ** 2 for v, w in zip(x, y)) / n
print(8 * os.path.getsize(sys.argv[3]) / n, mse / var)
P
}

for plane; do
	size=${plane##*_} size=${size%.yuv}
	echo "$plane"
	python3 -c 'import sys; open(sys.argv[2], "wb").write(b"".join((v * 4).to_bytes(2, "little") for v in open(sys.argv[1], "rb").read()))' \
		"$plane" "$dir/deep.yuv"
	: >"$dir/theirs" && : >"$dir/ours"
	for qp in ${QPS:-22 27 32 36}; do
		enc=$({ time "$vvenc" -i "$plane" -s "$size" -c yuv400 -f 1 -q "$qp" --qpa 0 --preset medium -t 1 -ip 1 \
			-o "$dir/s.266" >"$dir/log" 2>&1; } 2>&1)
		dec=$({ time "$vvdec" -b "$dir/s.266" -o "$dir/d.yuv" -t 1 -v 0 >"$dir/log" 2>&1; } 2>&1)
		echo "$qp $(measure "$plane" "$dir/d.yuv" "$dir/s.266") $enc $dec" >>"$dir/theirs"
		for own in $((qp - 5)) $((qp - 4)) $((qp - 3)) $((qp - 2)); do
			grep -q "^$own " "$dir/ours" && continue
			enc=$({ time GOMAXPROCS=1 "$lamina" vvc encode "$dir/deep.yuv" --size "$size" --depth 10 --qp "$own" -t 1 -f \
				-o "$dir/s.266" >"$dir/log"; } 2>&1)
			dec=$({ time GOMAXPROCS=1 "$lamina" vvc decode "$dir/s.266" -t 1 -f -o "$dir/d.yuv" >"$dir/log"; } 2>&1)
			echo "$own $(measure "$plane" "$dir/d.yuv" "$dir/s.266") $enc $dec" >>"$dir/ours"
		done
	done
	python3 - "$dir/theirs" "$dir/ours" "$size" <<'P'
import math, sys
rows = [sorted(tuple(map(float, l.split())) for l in open(f)) for f in sys.argv[1:3]]
w, h = map(int, sys.argv[3].split("x"))
def speed(s): return w * h / max(s, 0.001) / 1e6
def bits_at(nmse):
    for a, b in zip(rows[1], rows[1][1:]):
        if a[2] <= nmse <= b[2]:
            t = math.log(nmse / a[2]) / math.log(b[2] / a[2])
            return a[1] + t * (b[1] - a[1])
    return math.nan
print("codec    QP    bits    NMSE  bits(eq)   diff   encode  decode  (Msamples a second)")
for name, r in ("VVenC", rows[0]), ("lamina", rows[1]):
    for qp, bits, nmse, enc, dec in r:
        eq = bits_at(nmse) if name == "VVenC" else math.nan
        more = f"{eq:9.3f} {eq - bits:+6.3f}" if eq == eq else " " * 16
        print(f"{name:7} {qp:3.0f} {bits:7.3f} {nmse:7.4f} {more} {speed(enc):8.3f} {speed(dec):7.2f}")
P
done
