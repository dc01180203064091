if [ "$1" -eq 0 ] && [ -x /usr/bin/systemctl ]; then
  systemctl --no-reload disable --now unit-exporter.service unit-exporter.socket || :
fi
