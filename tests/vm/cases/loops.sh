# Layers are mounted from files since Linux 6.12 and by loop devices before; those end with the mounts.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
[ -d /tmp/busybox ] || ./image.sh /tmp/busybox
# A device that is used has a file behind it; nobody but rkt uses any here.
loops() { cat /sys/block/loop*/loop/backing_file 2> /dev/null | wc -l; }
trap 'rkt stop --force loops && rkt rm loops' EXIT
[ "$(loops)" = 0 ] || { rkt image gc --grace-period=0s; [ "$(loops)" = 0 ]; }
rkt run --detach --net=none --pod-name=loops oci:/tmp/busybox --exec=/bin/sleep -- 1000
used=$(loops)
case $(uname -r | cut -d. -f1-2) in
    6.1 | 6.[2-9] | 6.1[01]) [ "$used" -ge 2 ] || { echo "$used loop devices, for tar and index 2 at least"; exit 1; } ;;
    *) [ "$used" = 0 ] || { echo "$used loop devices where none is needed"; exit 1; } ;;
esac
echo "note: kernel $(uname -r): $used loop devices for one image"
# What is mounted is read from it.
rkt enter loops /bin/true
rkt stop --force loops && rkt rm loops
trap - EXIT
rkt image gc --grace-period=0s
[ "$(loops)" = 0 ] || { echo "loop devices stay after gc"; exit 1; }
