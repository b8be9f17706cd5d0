# A second disk comes, is written, and is let go of: by hand, since Linux unbinds no platform device for ACPI.
echo "vmm-plug waits for vdb"
tries=0
until [ -b /dev/vdb ]; do tries=$((tries + 1)); [ $tries -lt 60 ]; sleep 1; done
echo "vmm-plug vdb sectors $(cat /sys/block/vdb/size)"
printf hello | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null
device=$(readlink -f /sys/block/vdb/device/..)
echo "${device##*/}" >/sys/bus/platform/drivers/virtio-mmio/unbind
[ ! -b /dev/vdb ]
echo "vmm-plug let go of vdb"
sleep 15
