#!/bin/sh
# crash NAME SECONDS: records its start, waits SECONDS, records the crash, and crashes; the cause rotates.
list=/run/crashes/$1
echo "runs $(date +%T.%N)" >> "$list"
sleep "$2"
while [ -e /run/calm ]; do sleep 1; done
echo "crashes $(date +%T.%N)" >> "$list"
case $(($(wc -l < "$list") / 2 % 4)) in
  0) exit 3 ;;
  1) kill -SEGV $$ ;;
  2) kill -KILL $$ ;;
  3) kill -ABRT $$ ;;
esac
