# Every block driver test, on every disk there is. The host has filled the disks and compares them afterwards.
set -o pipefail
[ -b /dev/vda ]
for disk in /dev/vd?; do
  name=${disk##*/}
  echo "vmm-disk $name sectors $(cat /sys/block/"$name"/size) queues $(ls /sys/block/"$name"/mq | wc -l) read-only $(cat /sys/block/"$name"/ro)"
  # What the host put there: the checksum of the whole disk, before anything is written.
  echo "vmm-disk $name sha256 $(sha256sum "$disk" | cut -d ' ' -f 1)"
  [ "$(cat /sys/block/"$name"/ro)" = 0 ] || continue
  # Random writes past the page cache, each read again and compared; then flush, discard, write-zeroes, each verified.
  disktest "$disk"
  # A file system: made, mounted, filled, emptied from the caches, read again.
  /sbin/mke2fs -q -F -t ext4 "$disk"
  mount "$disk" /mnt
  cp -r /bin/busybox /modules /mnt/
  umount /mnt
  echo 3 >/proc/sys/vm/drop_caches
  mount "$disk" /mnt
  cmp /bin/busybox /mnt/busybox
  for module in /modules/*.ko; do cmp "$module" "/mnt/modules/${module##*/}"; done
  umount /mnt
  sync
  echo 3 >/proc/sys/vm/drop_caches
  echo "vmm-disk $name sha256-after $(sha256sum "$disk" | cut -d ' ' -f 1)"
done
