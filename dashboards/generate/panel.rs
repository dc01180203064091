//! The panel types in the style of all dashboards.

use serde_json::{Value, json};

use super::grafana::{Defaults, FieldConfig, Grid, Override, Panel, Source, Target};
use super::query::on_hosts;
use super::style::{self, fixed, thresholds};

/// One number.
pub(super) fn stat(title: &str, description: &'static str, expression: &str) -> Panel {
    let mut panel = Panel::new("stat", title, description).size(3, 4).instant(expression, "");
    panel.options = json!({
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "textMode": "value",
        "orientation": "auto",
        "wideLayout": true
    });
    panel.colored(thresholds("text", &[])).decimals(0)
}

/// Lines over time.
pub(super) fn lines(title: &str, description: &'static str) -> Panel {
    let mut panel = Panel::new("timeseries", title, description).size(12, 8);
    panel.options = series_options(&["lastNotNull"]);
    panel.config().defaults.min = Some(0);
    panel.config().defaults.color = json!({"mode": "palette-classic"});
    panel.config().defaults.custom = json!({
        "drawStyle": "line",
        "lineWidth": 2,
        "fillOpacity": 8,
        "gradientMode": "opacity",
        "showPoints": "never",
        "spanNulls": false,
        "axisSoftMin": 0
    });
    panel
}

/// Stacked areas.
pub(super) fn areas(title: &str, description: &'static str) -> Panel {
    let mut panel = lines(title, description);
    let custom = &mut panel.config().defaults.custom;
    custom["fillOpacity"] = json!(35);
    custom["lineWidth"] = json!(1);
    custom["gradientMode"] = json!("none");
    custom["stacking"] = json!({"mode": "normal", "group": "A"});
    panel
}

/// Counts of events: one bar per interval, drawn left of its end, with totals in the legend.
pub(super) fn bars(title: &str, description: &'static str) -> Panel {
    let mut panel = lines(title, description).decimals(0);
    panel.interval = Some("2m");
    panel.max_data_points = Some(120);
    panel.options = series_options(&["sum"]);
    panel.config().defaults.custom = json!({
        "drawStyle": "bars",
        "barAlignment": -1,
        "barWidthFactor": 0.8,
        "lineWidth": 0,
        "fillOpacity": 85,
        "gradientMode": "none",
        "showPoints": "never",
        "axisSoftMax": 3,
        "stacking": {"mode": "normal", "group": "A"}
    });
    panel
}

/// The states of units over time, numbered as in `style::STATES`.
pub(super) fn state_timeline(title: &str, description: &'static str) -> Panel {
    let mut panel = Panel::new("state-timeline", title, description).size(24, 8);
    panel.options = json!({
        "mergeValues": true,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.82,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"}
    });
    panel.max_data_points = Some(400);
    panel.config().defaults.mappings = vec![style::numbered(&style::STATES)];
    panel.config().defaults.custom = json!({"lineWidth": 0, "fillOpacity": 75});
    panel
}

/// One box per interval, colored by its value.
pub(super) fn status_history(title: &str, description: &'static str) -> Panel {
    let mut panel = Panel::new("status-history", title, description).size(24, 8);
    panel.options = json!({
        "showValue": "never",
        "rowHeight": 0.88,
        "colWidth": 0.92,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"}
    });
    panel.interval = Some("2m");
    panel.max_data_points = Some(60);
    panel.config().defaults.custom = json!({"lineWidth": 0, "fillOpacity": 80});
    panel
}

/// Horizontal bars: one per row of the table, its numeric columns stacked.
pub(super) fn bar_chart(title: &str, description: &'static str, x: &str) -> Panel {
    let mut panel = Panel::new("barchart", title, description).size(24, 8);
    panel.options = json!({
        "orientation": "horizontal",
        "stacking": "normal",
        "xField": x,
        "showValue": "auto",
        "groupWidth": 0.7,
        "barWidth": 0.9,
        "fullHighlight": false,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"}
    });
    panel.config().defaults.min = Some(0);
    panel.config().defaults.custom = json!({"lineWidth": 0, "fillOpacity": 75});
    panel
}

/// An explanation in Markdown.
pub(super) fn text(title: &str, description: &'static str, markdown: &str) -> Panel {
    let mut panel = Panel::new("text", title, description).size(24, 3);
    panel.options = json!({"mode": "markdown", "content": markdown});
    panel.datasource = None;
    panel.field_config = None;
    panel
}

impl Panel {
    pub(super) fn new(r#type: &'static str, title: &str, description: &'static str) -> Self {
        Self {
            id: 0,
            r#type,
            title: title.to_owned(),
            description,
            grid_pos: Grid::default(),
            datasource: Some(Source::selected()),
            targets: Vec::new(),
            interval: None,
            max_data_points: None,
            transformations: Vec::new(),
            field_config: Some(FieldConfig {
                defaults: Defaults {
                    unit: "none",
                    decimals: None,
                    min: None,
                    max: None,
                    no_value: "",
                    color: json!({"mode": "thresholds"}),
                    thresholds: thresholds("text", &[]),
                    mappings: Vec::new(),
                    links: Vec::new(),
                    custom: json!({}),
                },
                overrides: Vec::new(),
            }),
            options: Value::Null,
            collapsed: None,
            panels: None,
        }
    }

    pub(super) fn size(mut self, w: u32, h: u32) -> Self {
        self.grid_pos = Grid { w, h, ..self.grid_pos };
        self
    }

    pub(super) fn unit(mut self, unit: &'static str) -> Self {
        self.config().defaults.unit = unit;
        self
    }

    pub(super) fn decimals(mut self, decimals: u32) -> Self {
        self.config().defaults.decimals = Some(decimals);
        self
    }

    /// The text that replaces "No data".
    pub(super) fn if_empty(mut self, meaning: &'static str) -> Self {
        self.config().defaults.no_value = meaning;
        self
    }

    /// Colors by value.
    pub(super) fn colored(mut self, thresholds: Value) -> Self {
        self.config().defaults.thresholds = thresholds;
        self
    }

    /// Zero is green; other values have this color.
    pub(super) fn zero_is_good(self, color: &str) -> Self {
        self.colored(thresholds(style::GOOD, &[(0.5, color)]))
    }

    pub(super) fn mapped(mut self, mapping: Value) -> Self {
        self.config().defaults.mappings.push(mapping);
        self
    }

    /// Colors of series by name.
    pub(super) fn series_colors(mut self, colors: &[(&str, &str)]) -> Self {
        let overrides = &mut self.config().overrides;
        overrides.extend(
            colors.iter().map(|(name, color)| Override::of(name).with("color", fixed(color))),
        );
        self
    }

    /// A limit: a dashed line that is never stacked.
    pub(super) fn limit(self, expression: &str, name: &str, color: &str) -> Self {
        let mut panel = self.line(expression, name);
        let series = match name.split_once("{{") {
            Some((start, _)) => Override::matching(&format!("/^{start}/")),
            None => Override::of(name),
        };
        let style = json!({"fill": "dash", "dash": [8, 6]});
        panel.config().overrides.push(
            series
                .with("custom.lineStyle", style)
                .with("custom.lineWidth", 1)
                .with("custom.fillOpacity", 0)
                .with("custom.gradientMode", "none")
                .with("custom.stacking", json!({"mode": "none", "group": "A"}))
                .with("color", fixed(color)),
        );
        panel
    }

    /// Draws the series whose names match below the axis.
    pub(super) fn mirrored(mut self, expression: &str) -> Self {
        let below = Override::matching(expression).with("custom.transform", "negative-Y");
        self.config().overrides.push(below);
        self.config().defaults.min = None;
        self
    }

    /// A query over the time range.
    pub(super) fn line(self, expression: &str, legend: &str) -> Self {
        self.target(expression, legend, "time_series", false)
    }

    /// A query at the end of the time range.
    pub(super) fn instant(self, expression: &str, legend: &str) -> Self {
        self.target(expression, legend, "time_series", true)
    }

    pub(super) fn target(
        mut self,
        expression: &str,
        legend: &str,
        format: &'static str,
        instant: bool,
    ) -> Self {
        let ref_id = ref_id(self.targets.len());
        self.targets.push(Target {
            ref_id,
            datasource: Source::selected(),
            expr: on_hosts(expression),
            legend_format: legend.to_owned(),
            format,
            instant,
            range: !instant,
        });
        self
    }

    /// Adds a sparkline to a stat.
    pub(super) fn trend(mut self) -> Self {
        self.options["graphMode"] = json!("area");
        for target in &mut self.targets {
            (target.instant, target.range) = (false, true);
        }
        self
    }

    /// Shows the name of the series of a stat instead of its value.
    pub(super) fn named(mut self, legend: &str, colors: &[(&str, &str)]) -> Self {
        self.options["textMode"] = json!("name");
        self.options["colorMode"] = json!("value");
        for target in &mut self.targets {
            legend.clone_into(&mut target.legend_format);
        }
        self.series_colors(colors)
    }

    /// Adds a data link.
    pub(super) fn link(mut self, link: Value) -> Self {
        self.config().defaults.links.push(link);
        self
    }

    /// Limits the number of points of a query that is expensive for Prometheus.
    pub(super) fn max_points(mut self, points: u32) -> Self {
        self.max_data_points = Some(points);
        self
    }

    /// Colors the series as failures.
    pub(super) fn of_failures(mut self) -> Self {
        self.config().defaults.color = style::failure_shades();
        self
    }

    /// Chooses the legend of a graph: none for a single series, a table with values on the right if there is room
    /// for its names, and names below the graph otherwise.
    pub(super) fn with_legend(mut self) -> Self {
        if self.r#type == "timeseries" {
            let legends = self.targets.iter().map(|target| &target.legend_format);
            let has_long_names = legends.clone().any(|legend| legend.contains("{{name}}"));
            let is_single = legends.len() == 1 && !self.targets[0].legend_format.contains("{{");
            let legend = &mut self.options["legend"];
            if is_single {
                legend["showLegend"] = json!(false);
            } else if self.grid_pos.w >= if has_long_names { FULL_WIDTH } else { HALF_WIDTH } {
                legend["placement"] = json!("right");
                legend["displayMode"] = json!("table");
            } else {
                legend["calcs"] = json!([]);
            }
        }
        self
    }

    pub(super) fn config(&mut self) -> &mut FieldConfig {
        self.field_config.as_mut().expect("a panel with values")
    }
}

/// A, B, C and so on.
pub(super) fn ref_id(index: usize) -> String {
    char::from(b'A' + u8::try_from(index).expect("few queries")).to_string()
}

/// A link to the Host dashboard. `host` is the Grafana variable with the name of the host.
pub(super) fn to_host(host: &str) -> Value {
    link(&format!("Host {host}"), "systemd-host", &format!("var-instance={}", encoded(host)))
}

/// A link to the Unit dashboard, for one host.
pub(super) fn to_unit(host: &str, unit: &str) -> Value {
    let variables = format!("var-instance={}&var-name={}", encoded(host), encoded(unit));
    link(&format!("Unit {unit}"), "systemd-unit", &variables)
}

/// A link to the Unit dashboard, for the selected hosts.
pub(super) fn to_unit_everywhere(unit: &str) -> Value {
    let variables = format!("${{instance:queryparam}}&var-name={}", encoded(unit));
    link(&format!("Unit {unit}"), "systemd-unit", &variables)
}

/// A link to another dashboard with the selection of this one.
pub(super) fn to_dashboard(title: &str, uid: &str) -> Value {
    link(title, uid, "${instance:queryparam}")
}

/// Widths of panels on the grid.
const FULL_WIDTH: u32 = 24;
const HALF_WIDTH: u32 = 12;

/// Grafana's variables for the labels of the clicked series.
pub(super) const HOST: &str = "${__field.labels.instance}";
pub(super) const UNIT: &str = "${__field.labels.name}";

fn link(title: &str, uid: &str, variables: &str) -> Value {
    let selection = "${datasource:queryparam}&${cluster:queryparam}&${job:queryparam}";
    json!({"title": title, "url": format!("/d/{uid}?{selection}&{variables}&${{__url_time_range}}")})
}

/// Percent-encoded: unit names contain backslashes.
fn encoded(variable: &str) -> String {
    match variable.strip_suffix('}') {
        Some(open) => format!("{open}:percentencode}}"),
        None => variable.to_owned(),
    }
}

fn series_options(calcs: &[&str]) -> Value {
    json!({
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": calcs},
        "tooltip": {"mode": "multi", "sort": "desc"}
    })
}
