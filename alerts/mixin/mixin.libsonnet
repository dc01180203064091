// The rules and dashboards of this project for users of jsonnet, after `jb install github.com/unit-exporter/unit-exporter`:
//
//   (import 'github.com/unit-exporter/unit-exporter/alerts/mixin/mixin.libsonnet') {
//     _config+:: { dashboards: 'https://grafana.example.org', alertLabels: { team: 'hosts' } },
//   }
{
  local config = self._config,

  _config+:: {
    // %s is the name of the alert. `UPDATE=1 cargo test --test alerts` writes this pattern into all rules and their tests.
    runbookURLPattern: 'https://unit-exporter.github.io/unit-exporter/runbooks/%s.html',
    // Prefix of the path of a dashboard, /d/UID.
    dashboards: '',
    // Labels that all alerts and all recorded series get, for example team or cluster.
    alertLabels: {},
    ruleLabels: {},
    // Tags that all dashboards get.
    tags: [],
  },

  prometheusAlerts+:: { groups+: std.map(withURLs, (import 'alerts.json').groups) },
  prometheusRules+:: { groups+: std.map(withLabels, (import 'rules.json').groups) },
  grafanaDashboards+:: {
    'systemd-fleet.json': tagged(import '../../dashboards/systemd-fleet.json'),
    'systemd-host.json': tagged(import '../../dashboards/systemd-host.json'),
    'systemd-unit.json': tagged(import '../../dashboards/systemd-unit.json'),
    'systemd-crashes.json': tagged(import '../../dashboards/systemd-crashes.json'),
    'systemd-workers.json': tagged(import '../../dashboards/systemd-workers.json'),
    'systemd-listeners.json': tagged(import '../../dashboards/systemd-listeners.json'),
    'systemd-timers.json': tagged(import '../../dashboards/systemd-timers.json'),
    'systemd-boot.json': tagged(import '../../dashboards/systemd-boot.json'),
    'systemd-exporter.json': tagged(import '../../dashboards/systemd-exporter.json'),
  },

  local tagged(dashboard) = dashboard { tags+: config.tags },

  local withLabels(group) = group {
    rules: [rule { labels+: config.ruleLabels } for rule in group.rules],
  },

  local withURLs(group) = group {
    rules: [
      rule {
        labels+: config.alertLabels,
        annotations+: {
          runbook_url: config.runbookURLPattern % rule.alert,
          dashboard_url: config.dashboards + rule.annotations.dashboard_url,
        },
      }
      for rule in group.rules
    ],
  },
}
