# The kernel's own source of entropy is our device, and what it gives is neither constant nor repeated.
[ "$(cat /sys/class/misc/hw_random/rng_current)" = virtio_rng.0 ]
dd if=/dev/hwrng of=/tmp/first bs=4096 count=16 iflag=fullblock 2>/dev/null
dd if=/dev/hwrng of=/tmp/second bs=4096 count=16 iflag=fullblock 2>/dev/null
[ "$(wc -c </tmp/first)" = 65536 ]
! cmp -s /tmp/first /tmp/second
# Random bytes do not compress.
[ "$(gzip -c /tmp/first | wc -c)" -gt 65000 ]
