# `--pids` stops an app from forking more, and the same app forks without it.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
[ -d /tmp/busybox ] || ./image.sh /tmp/busybox
breed() {
    rkt run --rm --net=none "$@" oci:/tmp/busybox --exec=/bin/sh -- \
        -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do /bin/sleep 2 & done; wait'
}
breed --pids=64
status=0; breed --pids=8 || status=$?
[ "$status" -ne 0 ] || { echo "twelve children under a limit of eight"; exit 1; }
