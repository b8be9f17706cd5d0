# Random numbers, line by line, of a machine that is copied meanwhile. Each line says first whether the kernel had learned that it is a copy, and then
# what it draws.
echo "vmm-clone began $(cat /proc/sys/kernel/random/boot_id)"
while :; do
  forks=$(dmesg | grep -c 'crng reseeded due to virtual machine fork' || true)
  echo "vmm-clone forks $forks boot $(cat /proc/sys/kernel/random/boot_id) uuid $(cat /proc/sys/kernel/random/uuid) bytes $(head -c 64 /dev/urandom | sha256sum | cut -c 1-64) end"
  sleep 1
done
