# The default network on this kernel: an address, ports by TCP, UDP and SCTP, and nothing that stays.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
[ -d /tmp/busybox ] || ./image.sh /tmp/busybox
trap 'rkt stop --force net && rkt rm net; kill $outside' EXIT

# A client outside of this host, who has no way to pods.
modprobe sctp
unshare --net sleep 1000 &
outside=$!
sleep 1
ip link add out0 type veth peer name out0 netns "$outside"
ip addr add 10.9.0.1/24 dev out0 && ip link set out0 up
out() { nsenter --target "$outside" --net "$@"; }
out ip addr add 10.9.0.2/24 dev out0 && out ip link set out0 up

rkt run --detach --pod-name=net --net=default --port=9001:9000/tcp --port=9002:9000/udp --port=10.9.0.1:9003:9000/sctp \
    --port=10.9.0.1:9004:9000/tcp --port=10.9.0.1:9005:9000/udp oci:/tmp/busybox --exec=/bin/sleep -- 1000
pid=$(rkt status net | sed -n 's/^pid=//p')
address=$(rkt status net | sed -n 's/^networks=.*ip4=\([0-9.]*\).*/\1/p')
ping -c 1 -W 5 "$address" > /dev/null || busybox ping -c 1 -W 5 "$address" > /dev/null

# One word by a published port to who listens in the pod. What listens is the host's: the way is
# looked at, not the app.
word() {
    to=$1 port=$2 word=$3 how=${4:-}
    for n in 1 2 3 4 5; do
        rm -f /tmp/got
        # shellcheck disable=SC2086 # an option or none
        nsenter --target "$pid" --net timeout 10 ncat -n $how --recv-only -l 0.0.0.0 9000 > /tmp/got &
        server=$!
        sleep "$n"
        case $to in
            127.*) (echo "$word"; sleep 1) | timeout 5 ncat -n $how --send-only "$to" "$port" || true ;;
            *) (echo "$word"; sleep 1) | out timeout 5 ncat -n $how --send-only "$to" "$port" || true ;;
        esac
        sleep 0.2
        kill "$server" 2> /dev/null || true
        wait "$server" || true
        grep -qx "$word" /tmp/got && return
    done
    echo "nothing came by port $port"; exit 1
}
word 127.0.0.1 9001 tcp
word 127.0.0.1 9002 udp -u
word 10.9.0.1 9004 tcp
word 10.9.0.1 9005 udp -u
# ncat ends an association before what it sent is there: that it came to the pod is what counts.
came() { awk '$1 == "SctpPassiveEstabs" { print $2 }' "/proc/$pid/net/sctp/snmp"; }
[ "$(came)" = 0 ]
nsenter --target "$pid" --net timeout 20 ncat -n --sctp -l 0.0.0.0 9000 > /dev/null &
sleep 1
for n in 1 2 3 4 5; do
    (echo sctp; sleep 1) | out timeout 5 ncat -n --sctp --send-only 10.9.0.1 9003 || true
    [ "$(came)" = 0 ] || break
    sleep 1
done
[ "$(came)" != 0 ] || { echo "no association came by port 9003"; exit 1; }
# Who has a port of SCTP is said too.
ncat -n --sctp -l 10.9.0.1 9010 > /dev/null &
holder=$!
sleep 1
said=$(rkt port add net 10.9.0.1:9010:9000/sctp 2>&1) && { echo "the port of process $holder was taken"; exit 1; }
kill "$holder"
echo "$said" | grep -q "in use by process $holder (\`ncat\`)" || { echo "$said"; exit 1; }
# The control: a port that nobody published leads nowhere.
echo no | timeout 5 ncat -n --send-only 127.0.0.1 9006 && exit 1

rkt stop --force net && rkt rm net
kill "$outside"; trap - EXIT
links=$(ip -o link show | grep -c rkt || true)
[ "$links" = 0 ] || { sleep 1; links=$(ip -o link show | grep -c rkt || true); }
[ "$links" = 0 ] || { echo "links stay"; ip link; exit 1; }
