#!/bin/sh
# Makes the machine that `run.sh` boots: a root disk with systemd, a cloud kernel and an
# initramfs of a few modules, all from Debian's packages. Nothing is installed on this host.
# usage: root.sh SUITE OUT_DIR    (a finished OUT_DIR is kept as it is)
set -eu
suite=$1 out=$2 here=$(dirname "$(realpath "$0")")
[ -e "$out/done" ] && exit 0
rm -rf "$out.new" && mkdir -p "$out.new/init" && tree=$(realpath "$out.new")/tree
packages=$(grep -v '^#' "$here/packages" | paste -sd,)

# The kernel is unpacked only: its post-install scripts would make an initramfs of their own.
kernel='set -e; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"; mkdir "$1/kernel"; cd "$1/kernel"
  name=$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: \(linux-image-[^ ]*\)/\1/p")
  apt-get -qq -o APT::Sandbox::User=root download "$name" && dpkg-deb -x linux-image-*.deb .
  mv lib/modules "$1/usr/lib/" 2>/dev/null || mv usr/lib/modules "$1/usr/lib/"
  chroot "$1" depmod "$(ls "$1/usr/lib/modules")"'
unshare --mount --propagation private mmdebstrap --quiet --mode=root --variant=essential \
    --include="$packages" --customize-hook="$kernel" \
    --customize-hook="copy-in $here/rkt-test.service /etc/systemd/system" \
    --customize-hook="upload $here/guest.sh /usr/local/bin/rkt-test" \
    --customize-hook='chroot "$1" systemctl --quiet enable rkt-test.service' \
    --customize-hook='chroot "$1" systemctl --quiet mask getty.target systemd-timesyncd.service' \
    --customize-hook='echo vm > "$1/etc/hostname"; chmod +x "$1/usr/local/bin/rkt-test"' \
    "$suite" "$tree"

version=$(ls "$tree/usr/lib/modules")
mv "$tree/kernel/boot/vmlinuz-$version" "$out.new/vmlinuz"
cp "$tree/bin/busybox" "$out.new/init/" && install "$here/initramfs-init" "$out.new/init/init"
for module in virtio_pci virtio_blk ext4 crc32c; do
    chroot "$tree" modprobe -S "$version" --show-depends "$module" || true
done | awk '/^insmod/ && !seen[$2]++ { print ++n + 100, $2 }' | while read -r n file; do
    name=$(basename "$file" .xz)
    case $file in *.xz) xz -dc "$tree$file" ;; *) cat "$tree$file" ;; esac > "$out.new/init/$n-$name"
done
(cd "$out.new/init" && find . | cpio -o -H newc --quiet) > "$out.new/initrd"
for extra in kernel var/cache/apt var/lib/apt/lists usr/share/doc usr/share/locale; do
    rm -rf "${tree:?}/$extra"
done
mke2fs -qF -t ext4 -d "$tree" "$out.new/root.ext4" 2G > /dev/null
rm -rf "$tree" "$out.new/init" "$out" && touch "$out.new/done" && mv "$out.new" "$out"
