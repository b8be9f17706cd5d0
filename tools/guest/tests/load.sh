# A busy machine that is put away and brought back meanwhile: verified writes of a disk, a stream over vsock, a ping, a shell that counts. Each second
# a line says how far each has come, until the host says "quit" at port 6000.
set -o pipefail
complaints() { dmesg -r | grep -E '^<[0-4]>' || true; }
complaints >/tmp/complaints
ip link set eth0 up
ip addr add 10.77.0.2/24 dev eth0
stop=/tmp/stop
for count in stream ping shell; do echo 0 >/tmp/$count; done
# Written aside: who reads finds a whole number.
put() { echo "$2" >"/tmp/$1.new" && mv "/tmp/$1.new" "/tmp/$1"; }
(disktest /dev/vda $stop && echo "vmm-load disk verified") &
disk=$!
(vsocktest stream 5001 /tmp/stream $stop && echo "vmm-load stream verified") &
stream=$!
(n=0; while [ ! -e $stop ]; do ping -c 1 -W 10 10.77.0.1 >/dev/null && n=$((n + 1)) && put ping $n; usleep 200000; done) &
(n=0; while [ ! -e $stop ]; do n=$((n + 1)); [ $((n % 500)) -ne 0 ] || put shell $n; done) &
(vsocktest serve 6000; touch $stop) &
while [ ! -e $stop ]; do
  # Of what the disk has done: how many writes.
  set -- $(cat /sys/block/vda/stat)
  echo "vmm-load at $5 $(cat /tmp/stream) $(cat /tmp/ping) $(cat /tmp/shell) end"
  sleep 1
done
wait $disk
wait $stream
sync
echo 3 >/proc/sys/vm/drop_caches
echo "vmm-disk vda sha256-after $(sha256sum /dev/vda | cut -d ' ' -f 1)"
complaints | grep -vxFf /tmp/complaints | sed 's/^/vmm-load complaint /' || true
echo "vmm-load over"
