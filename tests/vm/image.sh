#!/bin/sh
# Makes an OCI layout with one layer, busybox and nothing else, from the machine's own package.
# usage: image.sh DIR    (then `oci:DIR`)
set -eu
dir=$1 root=$(mktemp -d)
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/etc" "$root/tmp" "$dir/blobs/sha256"
cp "$(command -v busybox)" "$root/bin/busybox"
for name in sh true false cat dd sleep echo id ls test; do ln -s busybox "$root/bin/$name"; done
echo 'root:x:0:0:root:/:/bin/sh' > "$root/etc/passwd"
tar -C "$root" --owner=0 --group=0 --numeric-owner --mtime=@0 --sort=name -cf "$dir/layer" .
rm -r "$root"

# Moves a file to its place among the blobs; sets `digest` and `size`.
blob() {
    digest=$(sha256sum "$1" | cut -d' ' -f1) size=$(stat -c %s "$1")
    mv "$1" "$dir/blobs/sha256/$digest"
}
blob "$dir/layer"
layer="{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$digest\",\"size\":$size}"
printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$digest" > "$dir/config"
blob "$dir/config"
config="{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size}"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' "$config" "$layer" > "$dir/manifest"
blob "$dir/manifest"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' "$digest" "$size" > "$dir/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' > "$dir/oci-layout"
