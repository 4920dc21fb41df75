#!/usr/bin/env bash
# Runs the official clients against a server. See README.md beside this file.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/lamina-e2e"
mkdir -p "$cache"
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(go python node soak)

server=
work=$(mktemp -d)
stop() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
		server=
	fi
	rm -rf "$work"
}
trap stop EXIT

if [ -z "${LAMINA_BASE_URL:-}" ]; then
	case "${LAMINA_BIN:-}" in
	"") go build -o "$work/lamina" ./cmd/lamina; bin="$work/lamina" ;;
	"go run "*) go build -o "$work/lamina" "${LAMINA_BIN#go run }"; bin="$work/lamina" ;; # signals do not pass through go run
	*) bin=$LAMINA_BIN ;;
	esac
	port=${LAMINA_PORT:-$((20000 + RANDOM % 20000))}
	"$bin" serve --addr "127.0.0.1:$port" >"$work/log" 2>&1 &
	server=$!
	root="http://127.0.0.1:$port"
	for _ in $(seq 300); do
		[ "$(curl -s -o /dev/null -w '%{http_code}' "$root/readyz" || true)" = 200 ] && break
		kill -0 "$server" 2>/dev/null || { cat "$work/log"; echo "FAIL server did not start"; exit 1; }
		sleep 0.1
	done
	export LAMINA_BASE_URL="$root/v1"
fi

run_go() {
	(cd e2e/go && go test -count=1 ./...)
}

run_python() {
	local venv="$cache/venv"
	[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
	cmp -s e2e/python/requirements.txt "$venv/requirements.txt" || {
		"$venv/bin/python" -m pip install -q --disable-pip-version-check -r e2e/python/requirements.txt
		cp e2e/python/requirements.txt "$venv/requirements.txt"
	}
	PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" e2e/python/test_openai.py
}

run_node() {
	local dir="$cache/node"
	mkdir -p "$dir"
	cmp -s e2e/node/package.json "$dir/package.json" || {
		cp e2e/node/package.json "$dir/package.json.new"
		(cd "$dir" && mv package.json.new package.json && npm install --no-package-lock --no-audit --no-fund --silent) ||
			{ rm -f "$dir/package.json"; return 1; }
	}
	cp e2e/node/openai.test.mjs "$dir/" # beside node_modules, where imports are looked up
	(cd "$dir" && node --test openai.test.mjs)
}

run_soak() {
	[ -n "$server" ] && [[ "${LAMINA_BIN:-}" != *fakeserver* ]] || return 0 # it wants the engine's metrics and the server for itself
	go run ./e2e/soak -url "${LAMINA_BASE_URL%/v1}" -duration 15s -requests 12 -tokens 48
}

failed=0
for suite in "${suites[@]}"; do
	if "run_$suite" >"$work/out" 2>&1; then
		echo "PASS $suite"
	else
		cat "$work/out"
		echo "FAIL $suite"
		failed=1
	fi
done
if [ -n "$server" ]; then
	kill -TERM "$server"
	if wait "$server"; then echo "PASS shutdown"; else echo "FAIL shutdown: status $?"; failed=1; fi
	server=
fi
if [ "$failed" -ne 0 ] && [ -f "$work/log" ]; then
	echo "the server's last lines:"
	tail -5 "$work/log"
fi
exit "$failed"
