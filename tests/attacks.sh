#!/bin/sh
# Sums up what the tests recorded of attacks (lines `ID WAY VERDICT`, see tests/harness/attack.rs): every
# attack of the probe's table and of tests/attacks.txt must have been made, be refused in every pod, and
# work in its positive control; those of the table also by an app that has every capability. Fails on less, and on fewer than a hundred.
set -eu
here=$(dirname "$0") known=$(mktemp) && trap 'rm -f "$known"' EXIT
"$2" attack list | sed 's/^{"id":"\([^"]*\)".*/\1 table/' > "$known"
grep -v '^#' "$here/attacks.txt" | cut -d' ' -f1 >> "$known"
awk '
    NR == FNR { known[++count] = $1; listed[$1] = 1; if ($2) table[$1] = 1; next }
    !listed[$1] { problem("recorded, but in no table", $1); next }
    $3 == "Absent" { absent[$1] = 1; next }
    $2 == "Control" { if ($3 == "Succeeded") control[$1] = 1; else bad[$1] = "its positive control: " $3; next }
    $3 == "Refused" { if ($2 == "Walled") held[$1] = 1; else hard[$1] = 1; next }
    { bad[$1] = "in a pod: " $3; if ($3 == "Succeeded") works[$1] = 1 }
    function problem(why, id) { problems = problems sprintf("  %-8s %s\n", id, why) }
    END {
        for (i = 1; i <= count; i++) {
            id = known[i]
            if (bad[id]) { problem(bad[id], id); if (!works[id]) open++; all++ }
            else if (absent[id]) { gone++; continue }
            else if (!held[id]) { problem("not made in a pod", id); open++; all++ }
            else if (table[id] && !hard[id]) { problem("not made with every capability", id); open++; all++ }
            else if (!control[id]) { problem("without a positive control", id); open++; all++ }
            else all++
            if (held[id] && !bad[id]) refused++
            if (control[id]) controls++
        }
        printf "%s", problems > "/dev/stderr"
        printf "%d attacks, %d refused, %d controls succeeded, %d inconclusive", all, refused, controls, open
        printf gone ? " (%d more are of calls that this kernel or host does not have)\n" : "\n", gone
        if (problems || all < 100) exit 1
    }' "$known" "$1"
