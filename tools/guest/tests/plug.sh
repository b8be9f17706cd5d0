# A second disk comes, is written, goes, and comes again.
echo "vmm-plug waits for vdb"
until [ -b /dev/vdb ]; do sleep 1; done
echo "vmm-plug vdb sectors $(cat /sys/block/vdb/size)"
printf hello | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null
echo "vmm-plug wrote vdb"
until [ ! -b /dev/vdb ]; do sleep 1; done
echo "vmm-plug lost vdb"
until [ -b /dev/vdb ]; do sleep 1; done
[ "$(head -c 5 /dev/vdb)" = hello ]
echo "vmm-plug found it again"
