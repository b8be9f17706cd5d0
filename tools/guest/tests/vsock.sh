# Sockets to the host: the programs on its side are the test's, at the ports 5000 to 5005.
vsocktest cid
vsocktest exchange 5000 16
vsocktest many 5001 1000 200
vsocktest halves 5002
vsocktest refused 5004
vsocktest stall 5003 5001
vsocktest messages 5005
# Now the host comes to us, and says when it is done.
vsocktest serve 6000
