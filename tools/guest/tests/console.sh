# A talk over the virtio console. What comes while nobody has it open is dropped: it stays open.
exec 3<>/dev/hvc0
stty -echo <&3
echo "the guest speaks" >&3
read -r line <&3
echo "vmm-console heard $line"
echo "the guest hears" >&3
