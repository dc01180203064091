getent group unit-exporter > /dev/null || groupadd --system unit-exporter || :
getent group systemd-journal > /dev/null || groupadd --system systemd-journal || :
getent passwd unit-exporter > /dev/null ||
  useradd --system --gid unit-exporter --groups systemd-journal --home-dir / --shell /usr/sbin/nologin \
    --comment "Prometheus exporter for systemd units" unit-exporter || :
