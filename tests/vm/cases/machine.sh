# The machine is what the other cases count on: unified cgroups with these controllers, systemd, overlay and erofs.
for controller in memory pids cpu io; do
    grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers
done
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]
[ "$(cat /proc/1/comm)" = systemd ]
modprobe overlay && modprobe erofs && modprobe loop
busybox true
