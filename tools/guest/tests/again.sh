# Counts boots on the disk, a letter each, and asks for a reset after the first.
boots=$(dd if=/dev/vda bs=512 count=1 2>/dev/null | tr -d '\0')
printf 'b' | dd of=/dev/vda bs=1 seek=${#boots} conv=notrunc 2>/dev/null
sync
[ -n "$boots" ] || reboot -f
