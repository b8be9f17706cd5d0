# What the machine is, as the kernel found it.
echo "vmm-machine cpus $(grep -c ^processor /proc/cpuinfo)"
for device in /sys/bus/virtio/devices/*; do
  [ -e "$device/driver" ] || continue
  echo "vmm-machine driver $(basename "$(readlink "$device/driver")")"
done
# "4-edge": the pin that ACPI says.
echo "vmm-machine console $(grep ttyS0 /proc/interrupts | awk '{ print $(NF - 1) }')"
# The clock's alarm interrupts: /proc/interrupts counts it for one of two processors.
if [ -e /sys/class/rtc/rtc0/wakealarm ]; then
  echo +2 >/sys/class/rtc/rtc0/wakealarm
  sleep 4
fi
echo "vmm-machine alarms $(awk '/rtc0/ { print $2 + $3 }' /proc/interrupts)"
