#!/usr/bin/env bash
# builtin.sh CHECKPOINT: packs the checkpoint that the program embeds again,
# the folder storyteller-22m with its safetensors, config and tokenizer.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: scripts/builtin.sh CHECKPOINT" >&2; exit 2; }
source=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
out=internal/builtin/storyteller-22m.lamina
go run ./cmd/lamina pack "$source" -o "$out.new" --bits 3 --calibrate self --calibrate-tokens 65536 --drift
go run ./cmd/lamina verify "$out.new"
mv "$out.new" "$out"
ls -l "$out"
