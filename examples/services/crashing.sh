# Lives for some seconds, then fails: by turns with an exit status and of a signal.
sleep 4
[ $(($(date +%s) / 6 % 2)) = 0 ] || kill -SEGV $$
exit 3
