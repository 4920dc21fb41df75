#!/usr/bin/env bash
# need.sh PACKAGE... -- COMMAND...: installs Debian packages if COMMAND, which
# only asks whether something is there, fails.
set -euo pipefail
packages=()
while [ "$1" != -- ]; do
	packages+=("$1")
	shift
done
shift
if "$@" >/dev/null 2>&1; then
	exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "'$*' fails: on Debian and Ubuntu, apt-get install ${packages[*]}" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
"$@" >/dev/null
