# Runs for some seconds, then fails, alternately with an exit status and a signal.
sleep 4
[ $(($(date +%s) / 6 % 2)) = 0 ] || kill -SEGV $$
exit 3
