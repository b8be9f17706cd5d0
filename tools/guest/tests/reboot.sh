# Asks for a reset.
reboot -f
