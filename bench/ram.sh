#!/usr/bin/env bash
# What a memory limit costs: token speed, peak RSS and bytes read per token in
# memory cgroups of 100, 75, 50, 35 and 25 % of a GGUF file.
#
#   bench/ram.sh [-o DIR] [-p] MODEL.gguf [MODEL.lamina [LLAMA_BENCH]] >ram.csv
#   go run ./bench/plot -o ram.svg ram.csv
#
# Every row is a file of DIR (default: a temporary folder), called by model,
# program and limit: what is there is not run again, so a run that was interrupted
# goes on, and runs of several models and programs add up. Printed are all rows of
# DIR; -p prints them and runs nothing. Remove the file of a row to repeat it. NAME
# is what the model is called there (default: the name of MODEL.gguf).
#
# MODEL.gguf is the Q4_0 file that sets the sizes and that LLAMA_BENCH, the
# program of that name of llama.cpp, runs if it is given. MODEL.lamina is packed
# from it if it is not given (BITS, default 3.5). Both programs are told nothing
# of the limit but what the cgroup says. If llama.cpp is killed it is tried again
# with --repack 0, which leaves the weights in the page cache. The files are put
# out of the page cache before every run. Bytes per token are the difference
# between a run of GEN (default 16) and one of twice as many tokens, so that
# loading does not count.
# Needs root, Linux (cgroup v1 or v2) and a built lamina (LAMINA, default ./lamina).
# No trained model at hand: go run ./bench/randomgguf -o random.gguf
set -euo pipefail
usage() { sed -n '2,/^set -/{/^set -/!s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
rows= only=
while getopts o:p flag; do
	case $flag in o) rows=$OPTARG ;; p) only=1 ;; *) usage ;; esac
done
shift $((OPTIND - 1))
header="model,program,percent,limit_mib,tokens_per_s,peak_rss_mib,cgroup_peak_mib,read_mib_per_token,note"
table() {
	echo "$header"
	find "$rows" -name '*.csv' -print0 | sort -zV | xargs -0r cat
}
if [ -n "$only" ]; then
	[ -n "$rows" ] || usage
	table
	exit
fi
[ $# -ge 1 ] || usage
gguf=$1 packed=${2:-} peer=${3:-}
gen=${GEN:-16} threads=${THREADS:-2} percents=${PERCENTS:-100 75 50 35 25}
lamina=${LAMINA:-./lamina}
work=$(mktemp -d)
group=
trap '[ -z "$group" ] || rmdir "$group" 2>/dev/null || true; rm -rf "$work"' EXIT
rows=${rows:-$work/rows}
mkdir -p "$rows"
model=${NAME:-$(basename "$gguf" .gguf)}
if [ -z "$packed" ]; then
	packed=$work/model.lamina
	"$lamina" pack "$gguf" -o "$packed" --bits "${BITS:-3.5}" --progress none >&2
fi
if [ -d /sys/fs/cgroup/memory ]; then
	parent=/sys/fs/cgroup/memory max=memory.limit_in_bytes peak=memory.max_usage_in_bytes
else
	parent=/sys/fs/cgroup max=memory.max peak=memory.peak
fi

# limited BYTES COMMAND...: runs it in a cgroup. Leaves its output in $work/out
# and $work/err, and in rss and io the peak RSS and the bytes read from disk.
limited() {
	local bytes=$1 pid
	shift
	group=$parent/lamina-ram-$$
	mkdir "$group"
	echo "$bytes" >"$group/$max"
	for f in "$gguf" "$packed"; do dd if="$f" iflag=nocache count=0 status=none; done
	rss=0 io=0
	sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@" >"$work/out" 2>"$work/err" &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		# What is read last, just before the end, is what counts.
		r=$(awk '/VmHWM/ {print $2}' /proc/$pid/status 2>/dev/null || true)
		i=$(awk '/^read_bytes/ {print $2}' /proc/$pid/io 2>/dev/null || true)
		rss=${r:-$rss} io=${i:-$io}
		sleep 0.02
	done
	status=0
	wait $pid 2>/dev/null || status=$?
	top=$(cat "$group/$peak")
	rmdir "$group"
	group=
}

number() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" "$work/out" | tail -1; }

# row PROGRAM WARMUP BYTES COMMAND...: two runs, one line. @N in the command is
# the number of tokens, which WARMUP further runs generate too before the one
# that is timed. The status is 1 if the program was killed.
row() {
	local program=$1 runs=$(($2 + 1)) bytes=$3 speed= first=0 note= killed=0
	local file="$rows/$model-${1// /}-$percent.csv"
	shift 3
	if [ -s "$file" ]; then
		! grep -q "killed for memory" "$file"
		return
	fi
	for n in "$gen" $((2 * gen)); do
		limited "$bytes" "${@//@N/$n}"
		if [ $status -ne 0 ]; then
			note=$(tail -1 "$work/err" | tr ',"' ';.')
			[ $status -ne 137 ] || { note="killed for memory" killed=1; }
			break
		fi
		speed=$(number "${key[$program]}")
		[ "$n" != "$gen" ] || first=$io
	done
	[ -z "$note" ] || speed=
	[ -n "$note" ] || note=$(sed -n 's/.*"plan": *"\(.*\)",$/\1/p' "$work/out" | tr , ";")
	awk -v OFS=, -v m0="$model" -v p="$program" -v pc="$percent" -v b="$bytes" -v s="$speed" -v r="$rss" -v t="$top" -v d=$((io - first)) -v g=$((gen * runs)) -v note="$note" \
		'BEGIN { m = 1048576; print m0, p, pc, sprintf("%.1f", b/m), s == "" ? "" : sprintf("%.2f", s), sprintf("%.1f", r/1024), sprintf("%.1f", t/m), s == "" ? "" : sprintf("%.2f", (d > 0 ? d : 0)/g/m), note }' >"$file.part"
	mv "$file.part" "$file"
	return $killed
}

declare -A key=([lamina]=gen_tokens_per_s [llama.cpp]=avg_ts ["llama.cpp --repack 0"]=avg_ts)
size=$(stat -c %s "$gguf")
for percent in $percents; do
	bytes=$((size * percent / 100 & ~4095))
	row lamina 1 "$bytes" "$lamina" bench model "$packed" -p 0 -n @N -r 1 -t "$threads" --progress none --json || true
	[ -n "$peer" ] || continue
	set -- "$peer" -m "$gguf" -p 0 -n @N -r 1 -t "$threads" -o json
	row llama.cpp 0 "$bytes" "$@" || row "llama.cpp --repack 0" 0 "$bytes" "$@" --repack 0 || true
done
table
