# What the machine is, as the kernel found it.
echo "vmm-machine cpus $(grep -c ^processor /proc/cpuinfo)"
for device in /sys/bus/virtio/devices/*; do
  [ -e "$device/driver" ] || continue
  echo "vmm-machine driver $(basename "$(readlink "$device/driver")")"
done
# "4-edge": the pin that ACPI says.
echo "vmm-machine console $(grep ttyS0 /proc/interrupts | awk '{ print $(NF - 1) }')"
