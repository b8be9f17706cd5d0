# Every device at once: what the other tests do, side by side.
sh -eu /tests/blk.sh & blk=$!
sh -eu /tests/net.sh & net=$!
sh -eu /tests/rng.sh & rng=$!
{ vsocktest exchange 5000 16 && vsocktest many 5001 200 50; } & vsock=$!
for job in $blk $net $rng $vsock; do wait $job; done
