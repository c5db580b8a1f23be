#!/bin/sh
# A pod of two apps, red and blue, from the built-in image, with a read-only volume that file
# modes would let anybody write. Each says what it is allowed and tries the four attacks of rkt
# issue #576. usage: demo.sh RKT
set -u
rkt=$1 top=$(mktemp -d /var/tmp/rkt-demo.XXXXXX)
mkdir "$top/volume" && echo "the host's own" > "$top/volume/file" && chmod 0777 "$top" "$top/volume" && chmod 0666 "$top/volume/file"
"$rkt" --dir="$top/data" run --rm --net=none --pod-name=demo --hostname=demo \
    --volume=shared,kind=host,source="$top/volume",readOnly=true --mount=volume=shared,target=/probe-volume \
    builtin:probe --name=red -- report --stay=4 --- \
    builtin:probe --name=blue -- report --wait=2
status=$?
echo "the pod ended with exit status $status (the number of attacks that worked)"
[ "$(ls "$top/volume")" = file ] || { echo "a pod has written to the read-only volume"; status=1; }
"$rkt" --dir="$top/data" gc --grace-period=0s > /dev/null 2>&1
rm -rf --one-file-system "$top"
exit $status
