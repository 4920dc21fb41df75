#!/usr/bin/env bash
# Token speed beside llama.cpp on the same machine, interleaved in one run:
#
#   bench/compare.sh LLAMA_BENCH MODEL.gguf [MODEL.lamina]
#
# LLAMA_BENCH is the program of that name of llama.cpp or of a descendant, run
# with its own defaults; MODEL.gguf is what it runs (Q4_0 for the usual
# comparison). Lamina runs MODEL.lamina, which is packed from the GGUF file if
# it is not given (BITS, default 3.5), unpacked in memory (regime A) and coded
# (regime B). Each figure is the median of ROUNDS (default 3) rounds over all
# programs; PROMPT, GEN and THREADS (default 512, 128, "1 2") as they say.
# No trained model at hand: go run ./bench/randomgguf -o random.gguf
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
peer=$1 gguf=$2 packed=${3:-}
prompt=${PROMPT:-512} gen=${GEN:-128} rounds=${ROUNDS:-3} threads=${THREADS:-1 2}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lamina=${LAMINA:-$work/lamina}
[ -n "${LAMINA:-}" ] || (cd "$root" && CGO_ENABLED=0 go build -o "$lamina" ./cmd/lamina)
if [ -z "$packed" ]; then
	packed=$work/model.lamina
	"$lamina" pack "$gguf" -o "$packed" --bits "${BITS:-3.5}" --progress none >&2
fi
printf '%s (%s MB) beside %s (%s MB), median of %s rounds\n' "$(basename "$packed")" $(($(stat -c %s "$packed") / 1000000)) \
	"$(basename "$gguf")" $(($(stat -c %s "$gguf") / 1000000)) "$rounds"
grep -m1 'model name' /proc/cpuinfo || true

# record PROGRAM THREADS PROMPT_SPEED GEN_SPEED
record() { printf '%s %s\n' "$3" "$4" >>"$work/$1.$2"; }
number() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" | head -1; }
for _ in $(seq "$rounds"); do
	for t in $threads; do
		speeds=$("$peer" -m "$gguf" -p "$prompt" -n "$gen" -t "$t" -r 1 -o json 2>/dev/null | sed -n 's/.*"avg_ts": *\([0-9.]*\).*/\1/p')
		record peer "$t" $speeds
		for regime in A B; do
			flag=; [ $regime = A ] || flag=--coded
			json=$("$lamina" bench model "$packed" -p "$prompt" -n "$gen" -t "$t" -r 1 $flag --json 2>/dev/null)
			record "lamina.$regime" "$t" "$(number prompt_tokens_per_s <<<"$json")" "$(number gen_tokens_per_s <<<"$json")"
		done
	done
done

median() { awk -v k="$2" '{print $k}' "$1" | sort -n | awk '{v[NR]=$1} END {print NR%2 ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
row() { printf '| %-8s | %-13s | %12s | %6s | %12s | %6s |\n' "$@"; }
row threads program "prompt $prompt" ratio "generate $gen" ratio
row ------: --- -----------: -----: -----------: -----:
for t in $threads; do
	p=$(median "$work/peer.$t" 1) g=$(median "$work/peer.$t" 2)
	row "$t" "llama-bench" "$(printf %.1f "$p")" 1.00 "$(printf %.1f "$g")" 1.00
	for regime in A B; do
		x=$(median "$work/lamina.$regime.$t" 1) y=$(median "$work/lamina.$regime.$t" 2)
		row "$t" "lamina, $regime" "$(printf %.1f "$x")" "$(awk "BEGIN {printf \"%.2f\", $x/$p}")" \
			"$(printf %.1f "$y")" "$(awk "BEGIN {printf \"%.2f\", $y/$g}")"
	done
done
