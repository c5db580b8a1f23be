#!/bin/sh
# Installs what is missing, quietly, and only then asks for root. A word is PROGRAM or PROGRAM:PACKAGE.
set -eu
for word in "$@"; do
    command -v "${word%:*}" > /dev/null || [ -x "/usr/sbin/${word%:*}" ] || [ -x "/usr/lib/cni/${word%:*}" ] || missing="${missing:-} ${word#*:}"
done
[ -n "${missing:-}" ] || exit 0
if [ "$(id -u)" != 0 ]; then echo "install first: apt-get install$missing" >&2; exit 1; fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
log=$(mktemp) && trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of words
{ apt-get -qq update && apt-get -qq install -y --no-install-recommends $missing; } > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
