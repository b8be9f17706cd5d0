# The network card, against the host at the other end: ping, bulk both ways, many connections at once. What went over is compared by both sides.
set -o pipefail
host=10.77.0.1
ip link set eth0 up
ip addr add 10.77.0.2/24 dev eth0
echo "vmm-net mtu $(cat /sys/class/net/eth0/mtu) queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l) carrier $(cat /sys/class/net/eth0/carrier)"
ping -c 3 -W 10 "$host" | grep "^3 packets transmitted, 3 packets received"
nc "$host" 7001 </dev/null | sha256sum | sed 's/ .*//; s/^/vmm-net down /'
dd if=/dev/urandom of=/tmp/up bs=1M count=24 2>/dev/null
nc "$host" 7002 </tmp/up >/dev/null
echo "vmm-net up $(sha256sum </tmp/up | cut -d ' ' -f 1)"
rm /tmp/up
for round in 1 2 3 4; do nettest "$host" 7003 50 16384; done
