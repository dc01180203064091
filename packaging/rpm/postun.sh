if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
  if [ "$1" -ge 1 ]; then systemctl try-restart unit-exporter.service || :; fi
fi
if [ "$1" -eq 0 ]; then
  # the package has no entries for its directories
  for directory in /etc/unit-exporter /usr/share/unit-exporter /usr/share/doc/unit-exporter; do
    [ ! -d "$directory" ] || find "$directory" -depth -type d -empty -delete || :
  done
fi
