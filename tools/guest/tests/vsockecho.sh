# Sockets both ways against a host that has an echo.
vsocktest many 5001 40 10
vsocktest refused 5004
vsocktest serve 6000
