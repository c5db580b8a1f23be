# The built-in image runs here, is refused what it attacks, and leaves nothing behind.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
mounts=$(wc -l < /proc/self/mountinfo)
rkt run --rm --net=none builtin:probe
rkt run --rm --net=none builtin:probe > /dev/null
[ "$(rkt list --no-legend | wc -l)" -eq 0 ]
rkt gc
left=$(find /sys/fs/cgroup -type d -path '*rkt*' ! -path '*rkt-test.service*')
[ -z "$left" ] || { echo "cgroups left: $left"; exit 1; }
# One mount may stay: the pinned namespace of the layers and its directory.
[ "$(wc -l < /proc/self/mountinfo)" -le $((mounts + 2)) ]
