# Debian's plugins that need what few kernels of test hosts have: ipvlan, and bandwidth with its ifb.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
[ -x /usr/lib/cni/ipvlan ] || { echo "needs containernetworking-plugins"; exit 77; }
[ -d /tmp/busybox ] || ./image.sh /tmp/busybox
mkdir -p /etc/rkt/net.d
ip link add up0 type dummy && ip link set up0 up
clean() { for name in one two slow; do rkt stop --force $name && rkt rm $name; done; ip link del up0; rm -rf /etc/rkt/net.d; }
trap clean EXIT
cat > /etc/rkt/net.d/vlan.conflist <<'X'
{"cniVersion": "1.0.0", "name": "vlan", "plugins": [
  {"type": "ipvlan", "master": "up0", "ipam": {"type": "host-local", "subnet": "10.66.0.0/24"}}]}
X
cat > /etc/rkt/net.d/slow.conflist <<'X'
{"cniVersion": "1.0.0", "name": "slow", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.67.0.0/24"}},
  {"type": "bandwidth", "ingressRate": 8000000, "ingressBurst": 8000000, "egressRate": 8000000, "egressBurst": 8000000}]}
X
up() { rkt run --detach --pod-name="$1" --net="$2" oci:/tmp/busybox --exec=/bin/sleep -- 1000; }
pid() { rkt status "$1" | sed -n 's/^pid=//p'; }
address() { rkt status "$1" | sed -n 's/^networks=.*ip4=\([0-9.]*\).*/\1/p'; }

up one vlan
up two vlan
nsenter --target "$(pid one)" --net ip -d link show eth0 | grep -q ipvlan
nsenter --target "$(pid one)" --net busybox ping -c 1 -W 5 "$(address two)"
rkt network check vlan

up slow slow
nsenter --target "$(pid slow)" --net busybox ping -c 1 -W 5 10.67.0.1
# To the pod by its device, from the pod by an ifb of the host.
[ "$(tc qdisc show | grep -c 'qdisc tbf')" -ge 2 ] || { tc qdisc show; exit 1; }
rkt network check slow

rkt stop --force slow && rkt rm slow
[ "$(tc qdisc show | grep -c 'qdisc tbf' || true)" = 0 ]
[ "$(find /var/lib/cni/networks/slow -name '10.67.*' 2> /dev/null | wc -l)" = 0 ]
up slow none
