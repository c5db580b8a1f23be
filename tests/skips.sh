#!/bin/sh
# Compares the skips of a run (lines `NAME  needs ...`) with the expected ones, by name.
set -eu
here=$(dirname "$0") run=$(mktemp) known=$(mktemp) && trap 'rm -f "$run" "$known"' EXIT
cut -d' ' -f1 "$1" | sort -u > "$run"
grep -v '^#' "$here/skips.txt" | cut -d' ' -f1 | sort -u > "$known"
echo "$(wc -l < "$run") tests skipped, at most $(wc -l < "$known") expected"
new=$(comm -23 "$run" "$known")
[ -z "$new" ] && exit 0
echo "skipped, but not named in tests/skips.txt:" >&2
grep -F "$new" "$1" | sort -u >&2
exit 1
