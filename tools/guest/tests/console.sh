# A line each way over the virtio console.
stty -F /dev/hvc0 -echo
read -r line </dev/hvc0
echo "vmm-console heard $line"
echo "the guest hears" >/dev/hvc0
