#!/usr/bin/env bash
# quality.sh CHECKPOINT TEXT [TOKENS [BITS...]]: packs the checkpoint at several
# rates, data-free and calibrated, and compares what comes out with the source
# on the first TOKENS tokens of TEXT in windows of 512: perplexity, KL divergence
# and top-1 agreement. The same weights rounded to nearest as GGUF does stand
# beside. TEXT must not be calibration text. Prints a Markdown table.
#
# CALIBRATE is the calibration text (default: the one that ships),
# CALIBRATE_TOKENS how much of it is used, ROUND which types are rounded to.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: scripts/quality.sh CHECKPOINT TEXT [TOKENS [BITS...]]" >&2; exit 2; }
source=$(realpath "$1") text=$(realpath "$2") tokens=${3:-65536}
shift 2; [ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- 1.5 2.0 2.5 3.0 3.5 4.0
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/lamina" ./cmd/lamina

# row NAME BITS REPORT: a row of the table from a JSON report of eval.
row() {
  python3 - "$@" <<'PY'
import json, sys
name, bits, path = sys.argv[1:]
r = json.load(open(path))
print(f"| {name} | {bits} | {r['ppl']:.3f} | {r['kl']:.4f} | {100 * r['top1']:.2f} |", flush=True)
PY
}

# score ARGS...: eval against the source, quietly.
score() { "$work/lamina" eval "$@" --reference "$source" --text "$text" --tokens "$tokens" --json 2>/dev/null >"$work/r.json"; }

echo "| packed | bits/weight | perplexity | KL | top-1, % |"
echo "|---|---:|---:|---:|---:|"
for type in ${ROUND-q8_0 q4_0}; do
  score "$source" --round "$type"
  row "rounded to nearest, $type" "$([ "$type" = q4_0 ] && echo 4.5 || echo 8.5)" "$work/r.json"
done
for how in data-free calibrated; do
  options=()
  [ $how = data-free ] || options=(--calibrate "${CALIBRATE:-default}" --calibrate-tokens "${CALIBRATE_TOKENS:-16384}")
  for bits; do
    if ! "$work/lamina" pack "$source" -o "$work/m.lamina" -f --bits "$bits" "${options[@]}" --json >"$work/p.json" 2>"$work/err"; then
      echo "| $how, $bits | not reached: $(tail -n 1 "$work/err" | cut -c 1-120) | | | |"
      continue
    fi
    score "$work/m.lamina"
    row "$how, $bits" "$(python3 -c 'import json,sys; print("%.3f" % json.load(open(sys.argv[1]))["bits_per_weight"])' "$work/p.json")" "$work/r.json"
  done
done
