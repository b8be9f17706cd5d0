# The host asks for memory back when the balloon starts: so many MiB as the kernel's command line says, vmm.balloon=N. It gets them.
for word in $(cat /proc/cmdline); do
  case $word in vmm.balloon=*) wanted=${word#vmm.balloon=} ;; esac
done
for second in $(seq 60); do
  pages=$(sed -n 's/^balloon_inflate //p' /proc/vmstat)
  [ "$pages" -ge $((wanted * 256)) ] && break
  sleep 1
done
[ "$pages" -ge $((wanted * 256)) ]
echo "vmm-balloon pages $pages"
