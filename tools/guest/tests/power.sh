# Waits for the power button, as the program does that shuts a machine down.
for name in /sys/class/input/event*/device/name; do
  case $(cat "$name") in 'Power Button') event=${name#/sys/class/input/}; event=${event%%/*} ;; esac
done
echo "vmm-power waits"
dd if=/dev/input/"$event" of=/tmp/pressed bs=24 count=1 2>/dev/null
# The type and the code behind the time: EV_KEY is 1, KEY_POWER 116.
echo "vmm-power pressed" $(od -An -t u2 -j 16 -N 4 /tmp/pressed)
