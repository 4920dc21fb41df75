#!/bin/sh
# The tables about low rank of docs/BENCHMARKS.md and docs/EXPERIMENTS.md.
#   scripts/lowrank.sh CHECKPOINT TEXT [CALIBRATION [TOKENS]]
# Writes lowrank.png into the current folder. TOKENS of TEXT are predicted, 8,192 unless given; CALIBRATION is a text file or "default".
set -eu
src=$1 text=$2 cal=${3:-default} n=${4:-8192}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/lamina" ./cmd/lamina
PATH=$dir:$PATH

echo "factors in float32"
lamina lowrank "$src" --text "$text" --tokens "$n" --calibrate "$cal" --progress none

echo "coded"
lamina lowrank "$src" --text "$text" --tokens "$n" --calibrate "$cal" --calibrate-tokens 16384 --keep 0.9,0.8 --coded 3.5,3,2.5,2 --plot lowrank.png --progress none
