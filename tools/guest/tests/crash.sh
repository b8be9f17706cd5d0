# Verified writes for as long as the host kills and restarts the process behind the disk: the guest must see nothing but pauses. How long is on the
# kernel's command line: vmm.rounds=N.
for word in $(cat /proc/cmdline); do
  case $word in vmm.rounds=*) rounds=${word#vmm.rounds=} ;; esac
done
echo "vmm-writing"
disktest /dev/vda "$rounds"
