# Nothing to do: the host counts what its own threads do meanwhile.
sync
sleep 3
echo "vmm-idle"
sleep 12
