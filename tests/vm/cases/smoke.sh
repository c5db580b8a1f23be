# Two apps of the built-in image run here, are refused what they attack, and leave nothing behind.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
mkdir -p /tmp/volume
for round in 1 2; do
    mounts=$(wc -l < /proc/self/mountinfo)
    rkt run --rm --net=none --volume=probe-volume,kind=host,source=/tmp/volume,readOnly=true \
        --mount=volume=probe-volume,target=/probe-volume builtin:probe --name=a --- builtin:probe --name=b
done
[ "$(rkt list --no-legend | wc -l)" -eq 0 ]
rkt gc
# The parent of all pods stays, empty; the first run may also pin the namespace of the layers.
left=$(find /sys/fs/cgroup -type d -path '*/rkt/*')
[ -z "$left" ] || { echo "cgroups left: $left"; exit 1; }
[ "$(wc -l < /proc/self/mountinfo)" -eq "$mounts" ] || { echo "mounts left"; cat /proc/self/mountinfo; exit 1; }
