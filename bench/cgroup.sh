#!/usr/bin/env bash
# Serves a model inside a memory cgroup and asks it for TOKENS (default 384), to show that
# --ram holds: bench/cgroup.sh MODEL.lamina [LIMIT_MIB [RAM_MIB]]
# Needs root, Linux (cgroup v1 or v2) and a built lamina (LAMINA, default ./lamina).
set -euo pipefail
model=$1 limit=${2:-96} ram=${3:-80}
lamina=${LAMINA:-./lamina}
addr=127.0.0.1:${PORT:-18099}

if [ -d /sys/fs/cgroup/memory ]; then
	group=/sys/fs/cgroup/memory/lamina-$$ max=memory.limit_in_bytes peak=memory.max_usage_in_bytes
else
	group=/sys/fs/cgroup/lamina-$$ max=memory.max peak=memory.peak
fi
mkdir "$group"
echo $((limit << 20)) >"$group/$max"
log=$(mktemp)
sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" \
	"$lamina" serve "$model" --ram "${ram}MiB" --addr "$addr" >"$log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null || true; rmdir "$group" 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 100); do
	curl -sf "http://$addr/readyz" >/dev/null && break
	kill -0 $pid || { cat "$log"; exit 1; }
	sleep 0.2
done
grep -m1 regime "$log"
name=$(curl -s "http://$addr/v1/models" | sed 's/.*"id":"\([^"]*\)".*/\1/')
begun=$(date +%s.%N)
answer=$(curl -s "http://$addr/v1/completions" -d \
	'{"model":"'"$name"'","prompt":"Once upon a time","max_tokens":'"${TOKENS:-384}"',"temperature":0.8,"seed":1,"ignore_eos":true}')
ended=$(date +%s.%N)
tokens=$(printf %s "$answer" | sed 's/.*"completion_tokens":\([0-9]*\).*/\1/')
hwm=$(awk '/VmHWM/ {print $2}' /proc/$pid/status)
printf 'tokens %s, %s tokens/s, peak RSS %s KiB of %s, cgroup peak %s KiB of %s\n' "$tokens" \
	"$(echo "$tokens $begun $ended" | awk '{printf "%.1f", $1/($3-$2)}')" \
	"$hwm" $((ram << 10)) $(($(cat "$group/$peak") >> 10)) $((limit << 10))
[ "$tokens" -gt 0 ] && [ "$hwm" -le $((ram << 10)) ] || { echo "over the budget" >&2; exit 1; }
