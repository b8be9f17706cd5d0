# Waits until its machine goes on from a snapshot, which the kernel says when the generation has changed, and prints what must differ then.
boot=$(cat /proc/sys/kernel/random/boot_id)
head -c 4096 /dev/urandom >/dev/null
echo "vmm-clone waits"
until dmesg | grep -q 'virtual machine fork'; do sleep 1; done
echo "vmm-clone urandom $(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')"
echo "vmm-clone uuid $(cat /proc/sys/kernel/random/uuid)"
# What was read before stays.
[ "$(cat /proc/sys/kernel/random/boot_id)" = "$boot" ] && echo "vmm-clone boot-id stays"
echo "vmm-clone done"
sleep 3
