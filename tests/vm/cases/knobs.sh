# Limits stand in the app's own v2 cgroup, from outside; the app's processes are in it, and a stop removes it.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
[ -d /tmp/busybox ] || ./image.sh /tmp/busybox
up() {
    name=$1; shift
    rkt run --detach --net=none --pod-name="$name" --uuid-file-save=/tmp/uuid \
        oci:/tmp/busybox --name=a "$@" --exec=/bin/sleep -- 1000
    group=$(find /sys/fs/cgroup -type d -path "*$(cat /tmp/uuid)*" -name 'app-a')
}
down() { rkt stop --force "$1"; rkt rm "$1"; [ ! -e "$group" ]; }
same() { [ "$(cat "$group/$1")" = "$2" ] || { echo "$1 is $(cat "$group/$1"), $2 wanted"; exit 1; }; }
# A controller that nothing needs is not switched on; then there is no file and no limit.
unlimited() { [ ! -e "$group/$1" ] || same "$1" max; }
trap 'for name in limited default free; do rkt stop --force "$name" && rkt rm "$name"; done > /dev/null 2>&1 || true' EXIT

up limited --memory=16Mi --pids=8
same memory.max 16777216
same pids.max 8
[ "$(cat /proc/"$(head -n 1 "$group/cgroup.procs")"/comm)" = sleep ]
down limited

up default
unlimited memory.max
[ "$(cat "$group/pids.max")" != max ] || { echo "no limit of pids by default"; exit 1; }
down default

up free --pids=0
unlimited pids.max
down free
