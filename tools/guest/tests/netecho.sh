# The network card against a host that has a ping and an echo.
host=10.77.0.1
ip link set eth0 up
ip addr add 10.77.0.2/24 dev eth0
ping -c 3 -W 10 "$host" | grep -q "^3 packets transmitted, 3 packets received"
nettest "$host" 7003 10 65536
