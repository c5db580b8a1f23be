#!/bin/sh
# A pod of two apps, red and blue, from the built-in image, with a read-only volume that file
# modes would let anybody write. Each says what it is allowed and tries the four attacks of rkt
# issue #576. Nothing is left: it has directories, a cgroup and a mount namespace of its own.
# usage: demo.sh RKT
set -u
if [ "${RKT_DEMO:-}" = "" ]; then
    [ "$(id -u)" = 0 ] || { echo "make demo: the demo needs root" >&2; exit 1; }
    RKT_DEMO=1 exec unshare --mount --propagation private "$0" "$@"
fi
rkt=$1 top=$(mktemp -d /var/tmp/rkt-demo.XXXXXX) group=rkt-demo-$$
mkdir "$top/volume" "$top/run" && echo "the host's own" > "$top/volume/file"
chmod 0777 "$top" "$top/volume" && chmod 0666 "$top/volume/file"
"$rkt" --dir="$top/data" --run-dir="$top/run" --cgroup-parent="$group" run --rm --quiet --net=none \
    --pod-name=demo --hostname=demo \
    --volume=shared,kind=host,source="$top/volume",readOnly=true --mount=volume=shared,target=/probe-volume \
    builtin:probe --name=red -- report --stay=4 --- \
    builtin:probe --name=blue -- report --wait=2
status=$?
echo "the pod ended with exit status $status (the number of attacks that worked)"
[ "$(ls "$top/volume")" = file ] || { echo "a pod has written to the read-only volume"; status=1; }
for root in /sys/fs/cgroup /sys/fs/cgroup/*; do rmdir "$root/$group" 2> /dev/null; done
# Layers that were mounted are immutable until gc unmounts them.
"$rkt" --dir="$top/data" --run-dir="$top/run" image gc --grace-period=0s > /dev/null
umount -l "$top"/run/* "$top/run" 2> /dev/null
rm -rf --one-file-system "$top"
exit $status
