//! Grafana's classic dashboard JSON, as much of it as is used here.

use serde::Serialize;
use serde_json::{Value, json};

/// One dashboard.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dashboard {
    pub(crate) uid: &'static str,
    pub(crate) title: String,
    pub(crate) description: &'static str,
    pub(crate) tags: [&'static str; 1],
    pub(crate) editable: bool,
    pub(crate) schema_version: u32,
    pub(crate) version: u32,
    pub(crate) timezone: &'static str,
    pub(crate) time: Time,
    pub(crate) refresh: &'static str,
    /// 1: the cross-hair of one graph is shown in all.
    pub(crate) graph_tooltip: u32,
    pub(crate) links: Vec<Value>,
    pub(crate) templating: List<Variable>,
    pub(crate) annotations: List<Value>,
    pub(crate) panels: Vec<Panel>,
}

/// The span of time that is shown at first.
#[derive(Debug, Serialize)]
pub(crate) struct Time {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// What Grafana wraps variables and annotations in.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    pub(crate) list: Vec<T>,
}

/// A variable: one box on top of the page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) description: &'static str,
    pub(crate) r#type: &'static str,
    pub(crate) query: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) datasource: Option<Source>,
    pub(crate) multi: bool,
    pub(crate) include_all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) all_value: Option<&'static str>,
    /// 2: asked anew when the span of time changes.
    pub(crate) refresh: u32,
    /// 1: by the alphabet.
    pub(crate) sort: u32,
}

/// Where panels and variables ask.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Source {
    r#type: &'static str,
    uid: &'static str,
}

/// A panel, or a row, which holds its panels while it is collapsed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Panel {
    pub(crate) id: u32,
    pub(crate) r#type: &'static str,
    pub(crate) title: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) description: &'static str,
    pub(crate) grid_pos: Grid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) datasource: Option<Source>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<Target>,
    /// The shortest step between two points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_data_points: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) transformations: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field_config: Option<FieldConfig>,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) options: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collapsed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) panels: Option<Vec<Panel>>,
}

/// Where a panel stands: the page is 24 wide, a step down is 38 pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Grid {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) w: u32,
    pub(crate) h: u32,
}

/// One query of a panel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    pub(crate) ref_id: String,
    pub(crate) datasource: Source,
    pub(crate) expr: String,
    pub(crate) legend_format: String,
    pub(crate) format: &'static str,
    pub(crate) instant: bool,
    pub(crate) range: bool,
}

/// How values look.
#[derive(Debug, Serialize)]
pub(crate) struct FieldConfig {
    pub(crate) defaults: Defaults,
    pub(crate) overrides: Vec<Override>,
}

/// How values look where no override says otherwise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Defaults {
    pub(crate) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decimals: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<u32>,
    /// What stands there instead of "No data".
    pub(crate) no_value: &'static str,
    pub(crate) color: Value,
    pub(crate) thresholds: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mappings: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<Value>,
    pub(crate) custom: Value,
}

/// How the values of one series or column look.
#[derive(Debug, Serialize)]
pub(crate) struct Override {
    matcher: Value,
    pub(crate) properties: Vec<Property>,
}

/// One property of an override.
#[derive(Debug, Serialize)]
pub(crate) struct Property {
    pub(crate) id: &'static str,
    pub(crate) value: Value,
}

impl Source {
    /// The Prometheus that the page's first variable names.
    pub(crate) fn chosen() -> Self {
        Self { r#type: "prometheus", uid: "${datasource}" }
    }
}

impl Override {
    /// For the series or column of this name.
    pub(crate) fn of(name: &str) -> Self {
        Self { matcher: json!({"id": "byName", "options": name}), properties: Vec::new() }
    }

    /// For every series whose name matches.
    pub(crate) fn matching(expression: &str) -> Self {
        Self { matcher: json!({"id": "byRegexp", "options": expression}), properties: Vec::new() }
    }

    pub(crate) fn with(mut self, id: &'static str, value: impl Into<Value>) -> Self {
        self.properties.push(Property { id, value: value.into() });
        self
    }
}
