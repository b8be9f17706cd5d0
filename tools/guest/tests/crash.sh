# Verified writes while the host kills and restarts the process behind the disk, until it says on the console that this is enough: the guest must see
# nothing but pauses.
echo "vmm-writing"
disktest /dev/vda /tmp/enough &
read -r word
[ "$word" = enough ]
touch /tmp/enough
wait $!
