# Ends the guest's kernel.
echo c >/proc/sysrq-trigger
