#!/bin/sh
# Boots a machine of Debian's packages under qemu, runs `inside.sh` in it and brings output and
# exit status back. Files go in on a disk, the output comes out of a virtio port, so neither
# network nor KVM is needed. RKT_VM_SUITE (bookworm: 6.1, trixie: 6.12), RKT_VM_TIMEOUT (seconds).
# usage: run.sh [BINARY_OR_DIRECTORY]...    (e.g. target/.../rkt; they land in /payload/bin)
set -eu
here=$(dirname "$(realpath "$0")") suite=${RKT_VM_SUITE:-bookworm}
cache=${CARGO_TARGET_DIR:-$here/../../target}/vm && mkdir -p "$cache"
key=$(cat "$here/packages" "$here"/root.sh "$here"/initramfs-init "$here"/guest.sh "$here"/*.service | sha256sum | cut -c1-12)
machine=$cache/$suite-$key
for tool in qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap cpio:cpio mke2fs:e2fsprogs; do
    command -v "${tool%:*}" > /dev/null || missing="${missing:-} ${tool#*:}"
done
if [ -n "${missing:-}" ]; then echo "test-vm: install first: apt-get install$missing" >&2; exit 125; fi
flock "$cache/lock" "$here/root.sh" "$suite" "$machine"
for old in "$cache/$suite"-*; do [ "$old" = "$machine" ] || rm -rf "$old"; done

work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT INT TERM
mkdir -p "$work/payload/bin" && cp -r "$here/inside.sh" "$here/image.sh" "$here/cases" \
    "$here/../../contrib/systemd/rkt-pod@.service" "$work/payload/"
for file in "$@"; do cp -rL "$file" "$work/payload/bin/"; done
tar -cf "$work/payload.tar" -C "$work/payload" .
: > "$work/output" && : > "$work/status"
timeout --foreground "${RKT_VM_TIMEOUT:-300}" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 \
    -nodefaults -no-user-config -no-reboot -display none -monitor none -serial "file:$work/console" \
    -kernel "$machine/vmlinuz" -initrd "$machine/initrd" \
    -append "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off systemd.show_status=no quiet" \
    -drive "file=$machine/root.ext4,format=raw,if=virtio,snapshot=on" \
    -drive "file=$work/payload.tar,format=raw,if=virtio,readonly=on" \
    -device virtio-serial -chardev "file,id=output,path=$work/output" -device virtserialport,chardev=output,name=output \
    -chardev "file,id=status,path=$work/status" -device virtserialport,chardev=status,name=status || died=$?
cat "$work/output"
status=$(tr -cd 0-9 < "$work/status")
if [ -z "$status" ]; then
    echo "test-vm: the machine ended without a verdict (qemu: ${died:-0}, 124 is the time-out); its console ends with:" >&2
    tail -n 25 "$work/console" >&2; exit 125
fi
exit "$status"
