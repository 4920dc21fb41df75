#!/usr/bin/env bash
# fuzz.sh [TIME]: runs every fuzz target of the module for TIME, such as 30s
# or 20000x (that many inputs), one after another.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20000x}
targets=$(grep -rEo --include='*_test.go' --exclude-dir=e2e '^func Fuzz[A-Za-z0-9_]*' . | sort)
[ -n "$targets" ] || { echo "no fuzz targets found" >&2; exit 1; }
while IFS=: read -r file func; do
	name=${func#func }
	echo "$(dirname "$file") $name"
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$(dirname "$file")"
done <<<"$targets"
