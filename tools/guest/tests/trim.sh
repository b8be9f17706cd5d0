# Gives blocks back in every way that Linux has: ext4 with discard, fstrim, blkdiscard of a part and of all.
/sbin/mke2fs -q -F -t ext4 -E discard /dev/vda
mount -t ext4 -o discard /dev/vda /mnt
cp /bin/busybox /mnt/first
sync
rm /mnt/first
sync
cp /bin/busybox /mnt/second
fstrim -v /mnt
umount /mnt
mount -t ext4 /dev/vda /mnt
cmp /bin/busybox /mnt/second
fstrim /mnt
umount /mnt
echo "vmm-disk block $(cat /sys/block/vda/queue/logical_block_size) granularity $(cat /sys/block/vda/queue/discard_granularity)"
blkdiscard -o 4096 -l 4096 /dev/vda
blkdiscard /dev/vda
