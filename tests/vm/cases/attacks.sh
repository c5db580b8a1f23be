# Every attack of the probe, in a pod with a victim beside it, as this kernel holds them: by default and
# with every capability granted. What works is named; only what doctor says is missing here may.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
mkdir -p /tmp/volume
rkt run --rm --net=none builtin:probe -- attack list > /tmp/list 2> /dev/null
count=$(grep -vc '"needs":"stage"' /tmp/list)
[ "$count" -ge 100 ]

# Without signal scopes (Landlock before ABI 6) ids alone keep apps apart; a process that was granted
# KILL over its own user namespace still has none over another's.
for grant in "" --caps-retain=all; do
    # shellcheck disable=SC2086
    rkt run --detach --net=none --uuid-file-save=/tmp/uuid --volume=probe-volume,kind=host,source=/tmp/volume,readOnly=true \
        builtin:probe --name=red --mount=volume=probe-volume,target=/probe-volume $grant -- attack-each all \
        --- builtin:probe --name=blue -- sleep
    uuid=$(cat /tmp/uuid)
    for n in $(seq 200); do
        rkt status "$uuid" | grep -q '^app-red=' && break
        sleep 0.3
    done
    rkt logs "$uuid:red" | grep '^{' > /tmp/told
    [ "$(wc -l < /tmp/told)" -eq "$count" ]
    refused=$(grep -c '"result":"refused"' /tmp/told)
    echo "note: ${grant:-by default}: $refused of $count refused, the rest has nothing to attack here"
    # To raise what was granted is the app's own business, and so is what a capability is for: the
    # probe's list marks those.
    sed -n 's/^{"id":"\([^"]*\)".*"own":true.*/"id":"\1"/p' /tmp/list > /tmp/own
    [ -n "$grant" ] || : > /tmp/own
    works=$(grep '"result":"succeeded"' /tmp/told | grep -vFf /tmp/own || true)
    [ -z "$works" ] || { echo "$works"; exit 1; }
    # An app that ends with other than 0, as one does that found nothing to attack, ends its pod.
    rkt stop --force "$uuid" || true
    rkt rm "$uuid"
done
