#!/usr/bin/env bash
# builtin.sh CHECKPOINT: packs the checkpoint that the program embeds again,
# the folder storyteller-22m with its safetensors, config and tokenizer. On 16
# processors that takes ten minutes, on two about an hour and a half.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: scripts/builtin.sh CHECKPOINT" >&2; exit 2; }
source=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
out=internal/builtin/storyteller-22m.lamina
text=$(mktemp)
trap 'rm -f "$text"' EXIT
go run ./cmd/lamina write "$source" -o "$text" --force --tokens 1048576
go run ./cmd/lamina pack "$source" -o "$out.new" --force --bits 3 --calibrate "$text" --calibrate-tokens 65536 --tune 1048576
go run ./cmd/lamina verify "$out.new"
mv "$out.new" "$out"
ls -l "$out"
