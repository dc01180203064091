// The rules and dashboards of this project for users of jsonnet:
//
//   (import 'unit-exporter/alerts/mixin/mixin.libsonnet') { _config+:: { dashboards: 'https://grafana.example.org' } }
{
  local config = self._config,

  _config+:: {
    // %s is the name of the alert. `UPDATE=1 cargo test --test alerts` writes this pattern into all rules and their tests.
    runbookURLPattern: 'https://unit-exporter.github.io/unit-exporter/runbooks/%s.html',
    // Prefix of the path of a dashboard, /d/UID.
    dashboards: '',
  },

  prometheusAlerts+:: { groups+: std.map(withURLs, (import 'alerts.json').groups) },
  prometheusRules+:: { groups+: (import 'rules.json').groups },
  grafanaDashboards+:: {
    'systemd-fleet.json': import '../../dashboards/systemd-fleet.json',
    'systemd-host.json': import '../../dashboards/systemd-host.json',
    'systemd-unit.json': import '../../dashboards/systemd-unit.json',
    'systemd-crashes.json': import '../../dashboards/systemd-crashes.json',
    'systemd-listeners.json': import '../../dashboards/systemd-listeners.json',
    'systemd-timers.json': import '../../dashboards/systemd-timers.json',
    'systemd-boot.json': import '../../dashboards/systemd-boot.json',
    'systemd-exporter.json': import '../../dashboards/systemd-exporter.json',
  },

  local withURLs(group) = group {
    rules: [
      rule {
        annotations+: {
          runbook_url: config.runbookURLPattern % rule.alert,
          dashboard_url: config.dashboards + rule.annotations.dashboard_url,
        },
      }
      for rule in group.rules
    ],
  },
}
