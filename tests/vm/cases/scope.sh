# Where systemd runs, each pod has a scope of its own: made, listed, left alone by a reload, ended.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
[ -d /tmp/busybox ] || ./image.sh /tmp/busybox
gone() { # UNIT: waits until systemd has forgotten it
    for n in $(seq 100); do
        [ "$(systemctl show --property=LoadState --value "$1")" = not-found ] && return
        sleep 0.1
    done
    systemctl status "$1"; exit 1
}
run() { rkt run --net=none "$@" oci:/tmp/busybox --exec=/bin/sleep --pids=32 -- 1000; }

run --detach --uuid-file-save=/tmp/uuid
uuid=$(cat /tmp/uuid) unit=rkt-$(cat /tmp/uuid).scope
at=/sys/fs/cgroup/machine.slice/$unit
[ "$(systemctl is-active "$unit")" = active ]
[ "$(systemctl show --property=Delegate --value "$unit")" = yes ]
systemctl show --property=Description --value "$unit" | grep -q "rkt pod $uuid"
[ "$(wc -l < "$at/supervisor/cgroup.procs")" -ge 1 ]
[ "$(wc -l < "$at/cgroup.procs")" -eq 0 ]
# The leaf of the app: by its only non-trivial name below the pod's.
app=$(echo "$at/$uuid"/app-*)
[ "$(cat "$app/pids.max")" = 32 ]
rkt audit "$uuid" > /tmp/audit || { cat /tmp/audit; exit 1; }
systemctl daemon-reload
[ "$(cat "$app/pids.max")" = 32 ]
rkt stop "$uuid"
gone "$unit"
rkt rm "$uuid"

# systemd ends the pod as it ends any unit; nothing is left for gc but the directory.
run --detach --uuid-file-save=/tmp/uuid2
unit=rkt-$(cat /tmp/uuid2).scope
systemctl stop "$unit"
gone "$unit"
rkt status "$(cat /tmp/uuid2)" | grep -q state=exited
rkt rm "$(cat /tmp/uuid2)"

# What kill -9 of the supervisor leaves is in the scope, and gc finds it there.
run --detach --uuid-file-save=/tmp/uuid3
uuid=$(cat /tmp/uuid3) unit=rkt-$(cat /tmp/uuid3).scope
kill -9 "$(head -n 1 "/sys/fs/cgroup/machine.slice/$unit/supervisor/cgroup.procs")"  # its launcher follows
rkt gc --grace-period=0s
rkt gc --grace-period=0s
gone "$unit"

# The unit file that we ship: ready when the app runs, its processes in the pod's scope, stopped
# by the app's own signal.
cp rkt-pod@.service /etc/systemd/system/
ln -sf "$(command -v rkt)" /usr/local/bin/rkt
mkdir -p /etc/rkt/pods.d
echo 'RUN="--net=none --uuid-file-save=/tmp/uuid4 oci:/tmp/busybox --exec=/bin/sleep -- 1000"' \
    > /etc/rkt/pods.d/web.env
systemctl daemon-reload
systemctl start rkt-pod@web
[ "$(systemctl is-active rkt-pod@web)" = active ]
unit=rkt-$(cat /tmp/uuid4).scope
[ "$(systemctl is-active "$unit")" = active ]
main=$(systemctl show --property=MainPID --value rkt-pod@web)
grep -qx "$main" "/sys/fs/cgroup/machine.slice/$unit/supervisor/cgroup.procs"
[ "$(rkt list --no-legend | wc -l)" -eq 1 ]
systemctl stop rkt-pod@web
gone "$unit"
rm -r /etc/systemd/system/rkt-pod@.service /etc/rkt/pods.d /usr/local/bin/rkt
systemctl daemon-reload

# A parent that was asked for is taken, and no scope is made.
rkt run --rm --net=none --cgroup-parent=rkt oci:/tmp/busybox --exec=/bin/true
[ -z "$(systemctl list-units --all --plain --no-legend 'rkt-*.scope')" ]
[ "$(rkt list --no-legend | wc -l)" -eq 0 ]
