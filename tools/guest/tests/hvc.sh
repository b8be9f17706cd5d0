# More lines of the kernel than any ring of its console holds, though the host reads none: the kernel waits for each with a lock held.
for word in $(cat /proc/cmdline); do
  case $word in vmm.lines=*) lines=${word#vmm.lines=} ;; esac
done
echo "vmm-hvc $(cat /proc/consoles | grep -c hvc0)"
# One write is one line of the kernel's log.
seq 1 "$lines" | while read -r number; do
  echo "$number of a line of the kernel that is as long as others are, and that the host does not read"
done >/dev/kmsg
echo "vmm-hvc printed"
