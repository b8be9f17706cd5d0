# A program that sends and closes; Linux waits 8 s for the host's RST and then sends its own. The host reads after that.
vsocktest leave 5003 300000
sleep 12
echo "vmm-vsock left"
# The host's answer to a new connection comes after it has read.
vsocktest many 5001 1 1
