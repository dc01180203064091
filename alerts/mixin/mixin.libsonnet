// The rules and dashboards of this project, for those who keep theirs in jsonnet:
//
//   (import 'unit-exporter/alerts/mixin/mixin.libsonnet') { _config+:: { dashboards: 'https://grafana.example.org' } }
{
  local config = self._config,

  _config+:: {
    // What stands before the path of a runbook, docs/runbooks/ALERT.md, and of a dashboard, /d/UID.
    runbooks: shipped,
    dashboards: '',
  },

  prometheusAlerts+:: { groups+: std.map(addressed, (import 'alerts.json').groups) },
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

  local shipped = 'https://docs.rs/crate/unit-exporter/latest/source/',
  local addressed(group) = group {
    rules: [
      rule {
        annotations+: {
          runbook_url: std.strReplace(rule.annotations.runbook_url, shipped, config.runbooks),
          dashboard_url: config.dashboards + rule.annotations.dashboard_url,
        },
      }
      for rule in group.rules
    ],
  },
}
