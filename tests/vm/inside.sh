#!/bin/sh
# Runs inside the machine, in /payload: every file of cases/ once, each in a shell of its own.
# A case ends with 0 (passed; its lines `note: ...` are shown), 77 (skipped; its line `needs ...`
# is the reason) or anything else (failed; the end of its trace is shown).
passed=0 failed=0 skipped=0
export PATH="/payload/bin:/usr/sbin:/usr/bin:/sbin:/bin"
echo "kernel $(uname -r), up for $(cut -d' ' -f1 /proc/uptime) s"
for case in cases/*; do
    name=$(basename "$case" .sh)
    out=$(timeout "${CASE_TIMEOUT:-120}" sh -eux "$case" 2>&1); status=$?
    case $status in
        0) passed=$((passed + 1)); echo "passed   $name"; echo "$out" | sed -n 's/^note: /    /p' ;;
        77) skipped=$((skipped + 1)); echo "skipped  $name  ($(echo "$out" | grep -m 1 '^needs'))" ;;
        *) failed=$((failed + 1)); echo "FAILED   $name (exit $status)"; echo "$out" | tail -n 60 | sed 's/^/    /' ;;
    esac
done
echo "up for $(cut -d' ' -f1 /proc/uptime) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
