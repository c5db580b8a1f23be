#!/bin/sh
# Runs inside the machine, as a systemd unit: unpacks what `run.sh` sent on the second disk,
# runs it, sends its exit status back and turns the machine off.
for port in output status; do
    while [ ! -e "/dev/virtio-ports/$port" ]; do sleep 0.1; done
done
mkdir -p /payload && tar -xf /dev/vdb -C /payload && cd /payload
./inside.sh > /dev/virtio-ports/output 2>&1
echo "$?" > /dev/virtio-ports/status
sync
systemctl poweroff --force --force
