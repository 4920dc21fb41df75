#!/usr/bin/env bash
# Serves a model and runs ./soak against it.
#
#   e2e/soak.sh                          # built-in model, 20 seconds
#   e2e/soak.sh 30m                      # as long as that
#   e2e/soak.sh 30m model.lamina --ram 80MiB   # further arguments of serve
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-20s}
shift || true
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
go build -o "$work/lamina" ./cmd/lamina
go build -o "$work/soak" ./e2e/soak
addr=127.0.0.1:$((20000 + RANDOM % 20000))
"$work/lamina" serve --addr "$addr" --log-level error "$@" >"$work/log" 2>&1 &
server=$!
for _ in $(seq 600); do
	curl -s -o /dev/null "http://$addr/readyz" && break
	kill -0 "$server" 2>/dev/null || { cat "$work/log"; exit 1; }
	sleep 0.1
done
"$work/soak" -url "http://$addr" -duration "$duration" ${SOAK_FLAGS:-} || { tail -20 "$work/log"; exit 1; }
kill -TERM "$server"
wait "$server"
server=
