#!/usr/bin/env bash
# What packing costs in quality: a checkpoint packed at several rates and in
# several ways, beside its weights rounded to nearest as GGUF does, against the
# source on the first tokens of a text in windows of 512.
#
#   scripts/quality.sh [FLAGS] CHECKPOINT TEXT
#
# CHECKPOINT is a Hugging Face directory or a GGUF file; TEXT must not be
# calibration text. Prints a Markdown table; DIR keeps that as table.md, all
# figures as table.json, and a file per row, so that a run that was interrupted
# goes on where it was. Rows that failed are tried again.
#
#   -o DIR     results (default quality-NAME in the current folder)
#   -j N       rows at a time (default: a quarter of the processors)
#   -n N       tokens of TEXT (65536; fewer if TEXT has fewer is an error)
#   -c N       tokens of calibration (16384)
#   -b LIST    bits per weight ("1.5 2.0 2.5 3.0 3.5 4.0")
#   -w LIST    ways of packing (all that the program knows of
#              "data-free calibrated self drift tuned")
#   -r LIST    ways of rounding ("q8_0 q4_0"; "" for none)
#   -x FLAGS   more flags for lamina pack, for every calibrated row
#   -k         keep the packed files in DIR
#   -T         only print the table of what DIR has
#
# LAMINA is the program; it is built if that is not set. Needs python3, bash 4
# and xargs, and no network.
set -euo pipefail

usage() { sed -n '2,/^set -/{/^set -/!s/^# \{0,1\}//p}' "$0" >&2; exit 2; }

out= jobs= tokens=65536 calibration=16384 bits="1.5 2.0 2.5 3.0 3.5 4.0" ways= rounds="q8_0 q4_0" more= keep= only=
while getopts o:j:n:c:b:w:r:x:kT flag; do
  case $flag in
    o) out=$OPTARG ;; j) jobs=$OPTARG ;; n) tokens=$OPTARG ;; c) calibration=$OPTARG ;; b) bits=$OPTARG ;;
    w) ways=$OPTARG ;; r) rounds=$OPTARG ;; x) more=$OPTARG ;; k) keep=1 ;; T) only=1 ;; *) usage ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 2 ] || usage
source=$(realpath "$1") text=$(realpath "$2")
root=$(cd "$(dirname "$0")/.." && pwd)
name=$(basename "$source")
out=${out:-quality-${name%.*}}
mkdir -p "$out"
out=$(realpath "$out")

if [ -z "${LAMINA:-}" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$root" && go build -o "$work/lamina" ./cmd/lamina)
  LAMINA=$work/lamina
fi
LAMINA=$(realpath "$LAMINA")

# Flags of pack for each way; a program that does not know a flag has no such way.
help=$("$LAMINA" pack --help 2>&1)
if [ -z "$ways" ]; then
  ways="data-free calibrated"
  ! grep -q 'the word self\|with self' <<<"$help" || ways+=" self"
  ! grep -q -- '--drift' <<<"$help" || ways+=" drift"
  ! grep -q -- '--tune' <<<"$help" || ways+=" tuned"
fi
flags() {
  case $1 in
    data-free) ;;
    calibrated) echo "--calibrate default --calibrate-tokens $calibration $more" ;;
    self) echo "--calibrate self --calibrate-tokens $calibration $more" ;;
    drift) echo "--calibrate default --calibrate-tokens $calibration --drift $more" ;;
    tuned) echo "--calibrate default --calibrate-tokens $calibration --tune $more" ;;
    *) echo "quality.sh: no way of packing is called $1" >&2; exit 2 ;;
  esac
}

processors=$(nproc)
jobs=${jobs:-$(((processors + 3) / 4))}
threads=$(((processors + jobs - 1) / jobs))

# finish ROW NAME: joins the reports of a row into its file.
finish() {
  python3 - "$out/$1" "$2" "$threads" <<'PY'
import json, os, sys
at, name, threads = sys.argv[1:]
load = lambda path: json.load(open(path)) if os.path.exists(path) else {}
e, p = load(at + ".eval"), load(at + ".pack")
row = {"row": name, "threads": int(threads)}
for k in ("bits_per_weight", "file_bytes", "tokens", "nll", "ppl", "kl", "top1", "window_nll", "window_kl"):
    if k in e:
        row[k] = e[k]
if p:
    row.update(pack_seconds=p["seconds"], pack_peak_rss_bytes=p["peak_rss_bytes"])
row["eval_seconds"] = e["seconds"]
json.dump(row, open(at + ".new", "w"))
os.rename(at + ".new", at + ".json")
PY
}

# row ROW: measures one row, unless that is done. Rows are source, round-TYPE
# and WAY@BITS.
row() {
  local at=$out/$1 file=$source options=(--reference "$source") how rate
  [ ! -e "$at.json" ] || return 0
  case $1 in
    source) options=() ;;
    round-*) options+=(--round "${1#round-}") ;;
    *)
      how=${1%@*} rate=${1#*@} file=$at.lamina
      if [ ! -e "$at.pack" ] || [ ! -e "$file" ]; then
        # shellcheck disable=SC2046 # flags are words
        if ! "$LAMINA" pack "$source" -o "$file" -f --bits "$rate" --threads "$threads" $(flags "$how") --json >"$at.part" 2>"$at.err"; then
          echo "$1: $(tail -n 1 "$at.err")" >&2
          return 0
        fi
        mv "$at.part" "$at.pack"
      fi
      ;;
  esac
  if ! "$LAMINA" eval "$file" "${options[@]}" --text "$text" --tokens "$tokens" --threads "$threads" --json >"$at.part" 2>"$at.err"; then
    echo "$1: $(tail -n 1 "$at.err")" >&2
    return 0
  fi
  mv "$at.part" "$at.eval"
  finish "$1" "$1"
  rm -f "$at.err" "$at.eval" "$at.pack"
  [ -n "$keep" ] || rm -f "$at.lamina"
  echo "$1: done" >&2
}

table() {
  python3 - "$out" "$source" "$text" "$calibration" "$processors" "$jobs" $rows <<'PY'
import json, os, sys
out, source, text, calibration, processors, jobs, *names = sys.argv[1:]
rows, missing = [], []
for name in names:
    path = os.path.join(out, name + ".json")
    if os.path.exists(path):
        rows.append(json.load(open(path)))
    else:
        missing.append(name)
lines = ["| | file bytes | bits/weight | perplexity | KL | top-1, % | pack, s | peak, MiB |", "|---|---:|---:|---:|---:|---:|---:|---:|"]
base = next((r["ppl"] for r in rows if r["row"] == "source"), None)
for r in rows:
    name, packed = r["row"].replace("round-", "rounded to nearest, ").replace("@", ", "), "pack_seconds" in r
    more = f" ({100 * (r['ppl'] / base - 1):+.1f} %)" if base and r["row"] != "source" else ""
    lines.append(f"| {name} | {r['file_bytes']:,} | {r['bits_per_weight']:.3f} | {r['ppl']:.3f}{more} | "
                 + (" | " if r["row"] == "source" else f"{r['kl']:.4f} | {100 * r['top1']:.2f}")
                 + (f" | {r['pack_seconds']:.0f} | {r['pack_peak_rss_bytes'] / 2**20:.0f} |" if packed else " | | |"))
with open(os.path.join(out, "table.md"), "w") as f:
    print(*lines, sep="\n", file=f)
tokens = sorted({r["tokens"] for r in rows})
head = {"source": os.path.basename(source), "text": os.path.basename(text), "tokens": tokens[0] if len(tokens) == 1 else tokens,
        "calibration_tokens": int(calibration), "processors": int(processors), "jobs": int(jobs), "rows": rows, "missing": missing}
json.dump(head, open(os.path.join(out, "table.json"), "w"), indent=1)
print(*lines, sep="\n")
if missing:
    print("not measured:", *missing, file=sys.stderr)
PY
}

rows=source
for r in $rounds; do rows+=" round-$r"; done
for w in $ways; do
  flags "$w" >/dev/null
  for b in $bits; do rows+=" $w@$b"; done
done
if [ -z "$only" ]; then
  # The longest rows first: the tuned, the calibrated, then the rest.
  order=$(tr ' ' '\n' <<<"$rows" | tac)
  export out source text tokens calibration threads more keep LAMINA
  export -f row finish flags
  xargs -P "$jobs" -I{} bash -euo pipefail -c 'row "$1"' row {} <<<"$order"
fi
table
