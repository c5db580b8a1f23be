# `--memory` kills an app that takes more, and the same app lives without it.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
[ -d /tmp/busybox ] || ./image.sh /tmp/busybox
eat() {
    rkt run --rm --net=none "$@" oci:/tmp/busybox --exec=/bin/dd -- if=/dev/zero of=/dev/null bs=64M count=1
}
eat
status=0; eat --memory=16Mi || status=$?
[ "$status" -eq 137 ] || { echo "ended with $status, 137 wanted"; exit 1; }
