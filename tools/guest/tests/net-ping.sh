# The network card, and something at the other end that answers pings.
ip link set eth0 up
ip addr add 10.77.0.2/24 dev eth0
ping -c 3 -W 10 10.77.0.1 | grep '^3 packets transmitted, 3 packets received'
