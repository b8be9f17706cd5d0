# The network card of a guest that boots on our own KVM: ping, then many connections at once whose bytes come back compared.
set -o pipefail
ip link set eth0 up
ip addr add 10.77.0.2/24 dev eth0
echo "vmm-net mtu $(cat /sys/class/net/eth0/mtu) queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l) address $(cat /sys/class/net/eth0/address)"
ping -c 3 -W 30 10.77.0.1 | grep '^3 packets transmitted, 3 packets received'
nettest 10.77.0.1 7003 20 65536
