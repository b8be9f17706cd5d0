# Connections whose bytes come back compared, for as long as the host kills and restarts the process behind the card: they must outlive it.
ip link set eth0 up
ip addr add 10.77.0.2/24 dev eth0
echo "vmm-writing"
for round in 1 2 3 4 5 6; do nettest 10.77.0.1 7003 8 524288; done
