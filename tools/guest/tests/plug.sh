# A second disk comes, is not let go of while it is in use, goes, and another one comes to its place. Nobody in the guest does anything for it but what
# tools/packaging/guest has udev do; here busybox hears of the kernel's events in its place.
uevent sh -c '[ "${SUBSYSTEM:-} ${ACTION:-} ${EVENT:-}" != "container change offline" ] || vmm-places' &
waits() { tries=0; until eval "$1"; do tries=$((tries + 1)); [ $tries -lt 120 ]; sleep 1; done; }
echo "vmm-plug waits for vdb"
waits '[ -b /dev/vdb ]'
echo "vmm-plug vdb sectors $(cat /sys/block/vdb/size)"
/sbin/mke2fs -q -F -t ext4 /dev/vdb
mount /dev/vdb /mnt
echo "vmm-plug uses vdb"
waits 'dmesg | grep -q "vmm-places: the host removes vdb, which is in use"'
[ -b /dev/vdb ]
echo "vmm-plug kept vdb"
# The host gives up to wait, and the place has its device again.
waits '[ "$(cat /sys/block/vdb/device/../firmware_node/status)" -ne 0 ]'
umount /mnt
printf hello | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null
echo "vmm-plug is done with vdb"
waits '[ ! -b /dev/vdb ]'
echo "vmm-plug let go of vdb"
waits '[ -b /dev/vdb ]'
echo "vmm-plug vdb sectors $(cat /sys/block/vdb/size) now, content $(head -c 5 /dev/vdb)"
