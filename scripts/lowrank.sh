#!/bin/sh
# The tables of docs/BENCHMARKS.md about low rank.
#   scripts/lowrank.sh CHECKPOINT TEXT [CALIBRATION [TOKENS]]
# TOKENS of TEXT are predicted, 8,192 unless given; CALIBRATION is a text file or "default".
set -eu
src=$1 text=$2 cal=${3:-default} n=${4:-8192}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/lamina" ./cmd/lamina
PATH=$dir:$PATH

echo "factors in float32"
lamina lowrank "$src" --text "$text" --tokens "$n" --calibrate "$cal" --progress none

for bits in 2 2.5 3 3.5; do
    for how in "--representation dense" "--lowrank 0.9" "--lowrank 0.8" "--representation auto"; do
        echo "coded, --bits $bits $how"
        # shellcheck disable=SC2086 # flags are words
        lamina pack "$src" -o "$dir/m.lamina" -f --bits "$bits" --calibrate "$cal" $how --progress none
        lamina eval "$dir/m.lamina" --text "$text" --tokens "$n" --reference "$src" --progress none
    done
done
