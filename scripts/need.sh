#!/usr/bin/env bash
# need.sh COMMAND PACKAGE...: installs Debian packages if COMMAND is missing.
set -euo pipefail
command=$1
shift
if command -v "$command" >/dev/null; then
	exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "$command is missing: install it (Debian and Ubuntu: apt-get install $*)" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "$@" >/dev/null
command -v "$command" >/dev/null
