# What the host types: runs each line as a command, and prints "vmm-ran NUMBER EXIT" after it. "done" ends the test.
number=0
while read -r command; do
  [ "$command" != "done" ] || exit 0
  number=$((number + 1)) result=0
  eval "$command" || result=$?
  echo "vmm-ran $number $result"
done
exit 1
