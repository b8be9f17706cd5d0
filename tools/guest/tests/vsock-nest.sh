# Sockets to a host that has an echo at port 5001 and nothing at 5004; then it comes to us, and says when it is done.
vsocktest cid
vsocktest many 5001 60 20
vsocktest refused 5004
vsocktest serve 6000
