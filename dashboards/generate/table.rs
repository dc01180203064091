//! Tables: one row per host or unit, one column per expression.

use serde_json::{Map, Value, json};

use super::grafana::{Override, Panel};
use super::panel::{ref_id, to_host, to_unit, to_unit_everywhere};
use super::query::NO_UNIT;
use super::style::{self, thresholds};

/// A table under construction.
pub(super) struct Table {
    panel: Panel,
    keys: Vec<(&'static str, &'static str)>,
    order: Vec<String>,
    only: Option<&'static str>,
    shown: Vec<(String, String)>,
    sort: Option<(&'static str, bool)>,
    of_listeners: bool,
}

/// Options of the cells of a column.
pub(super) struct Cell {
    unit: &'static str,
    properties: Vec<(&'static str, Value)>,
}

/// A table with one row per combination of these labels.
pub(super) fn table(title: &str, description: &'static str, keys: &[&'static str]) -> Table {
    let mut panel = Panel::new("table", title, description).size(24, 8);
    panel.options = json!({"showHeader": true, "cellHeight": "sm"});
    panel.config().defaults.custom = json!({"align": "auto", "filterable": false, "minWidth": 100});
    let mut table = Table {
        panel,
        keys: Vec::new(),
        order: Vec::new(),
        only: None,
        shown: Vec::new(),
        sort: None,
        of_listeners: keys.contains(&"port"),
    };
    for &key in keys {
        table.key(key);
    }
    table
}

impl Table {
    /// Restricts the rows to those of this expression.
    pub(super) fn only(mut self, rows: &'static str) -> Self {
        self.only = Some(rows);
        self
    }

    /// A column with a label of the next expression.
    pub(super) fn label(mut self, label: &'static str, title: &'static str, cell: Cell) -> Self {
        self.order.push(label.to_owned());
        self.shown.push((label.to_owned(), title.to_owned()));
        self.style(title, cell.with("custom.filterable", true).with("noValue", "–"));
        self
    }

    /// A column of values.
    pub(super) fn column(mut self, title: &'static str, expression: &str, cell: Cell) -> Self {
        let expression = self.expression(expression);
        let field = format!("Value #{}", ref_id(self.panel.targets.len()));
        self.panel = self.panel.target(&expression, "", "table", true);
        self.order.push(field.clone());
        self.shown.push((field, title.to_owned()));
        self.style(title, cell.with("noValue", "–"));
        self
    }

    /// A query of which only the labels are shown.
    pub(super) fn labels_of(mut self, expression: &str) -> Self {
        let expression = self.expression(expression);
        self.panel = self.panel.target(&expression, "", "table", true);
        self
    }

    pub(super) fn sort(mut self, title: &'static str, descending: bool) -> Self {
        self.sort = Some((title, descending));
        self
    }

    pub(super) fn size(mut self, w: u32, h: u32) -> Self {
        self.panel = self.panel.size(w, h);
        self
    }

    pub(super) fn if_empty(mut self, meaning: &'static str) -> Panel {
        let several = self.panel.targets.len() > 1;
        let mut hidden = Map::from_iter([("Time".to_owned(), json!(true))]);
        for index in 0..self.panel.targets.len() {
            let field = format!("Value #{}", ref_id(index));
            if !self.order.contains(&field) {
                hidden.insert(plain(&field, several), json!(true));
            }
        }
        let order: Map<String, Value> = self
            .order
            .iter()
            .enumerate()
            .map(|(at, field)| (plain(field, several), json!(at)))
            .collect();
        let titles: Map<String, Value> =
            self.shown.iter().map(|(field, title)| (plain(field, several), json!(title))).collect();
        self.panel.transformations = vec![
            json!({"id": "merge", "options": {}}),
            json!({"id": "organize", "options": {
                "excludeByName": hidden, "indexByName": order, "renameByName": titles
            }}),
        ];
        if let Some((title, descending)) = self.sort {
            let by = json!([{"field": title, "desc": descending}]);
            self.panel
                .transformations
                .push(json!({"id": "sortBy", "options": {"fields": {}, "sort": by}}));
            self.panel.options["sortBy"] = json!([{"displayName": title, "desc": descending}]);
        }
        self.panel.if_empty(meaning)
    }

    fn key(&mut self, label: &'static str) {
        let (title, cell) = match label {
            "instance" => ("Host", Cell::plain().width(175).link(to_host("${__value.raw}"))),
            "name" => ("Unit", Cell::plain().min_width(150)),
            "template" => ("Template", Cell::plain().min_width(170)),
            "protocol" => ("Protocol", Cell::plain().width(96)),
            "address" => ("Address", Cell::plain()),
            "port" => ("Port", Cell::plain().width(85)),
            other => panic!("no title for the label {other}"),
        };
        self.keys.push((label, title));
        let cell = match label {
            "name" if self.keys.iter().any(|(key, _)| *key == "instance") => {
                cell.link(to_unit("${__data.fields.Host}", "${__value.raw}"))
            }
            "name" => cell.link(to_unit_everywhere("${__value.raw}")),
            _ => cell,
        };
        let missing = if self.of_listeners && label == "name" { NO_UNIT } else { "–" };
        self.order.push(label.to_owned());
        self.shown.push((label.to_owned(), title.to_owned()));
        self.style(title, cell.with("custom.filterable", true).with("noValue", missing));
    }

    fn expression(&self, expression: &str) -> String {
        let Some(rows) = self.only else { return expression.to_owned() };
        let on: Vec<_> = self.keys.iter().map(|(key, _)| *key).collect();
        format!("({expression}) and on ({}) ({rows})", on.join(", "))
    }

    fn style(&mut self, title: &str, cell: Cell) {
        let mut column = Override::of(title);
        if cell.unit != "none" {
            column = column.with("unit", cell.unit);
        }
        for (id, value) in cell.properties {
            column = column.with(id, value);
        }
        if !column.properties.is_empty() {
            self.panel.config().overrides.push(column);
        }
    }
}

impl Cell {
    /// Without options.
    pub(super) fn plain() -> Self {
        Self { unit: "none", properties: Vec::new() }
    }

    pub(super) fn unit(unit: &'static str) -> Self {
        Self { unit, properties: Vec::new() }
    }

    /// A count with this color above zero.
    pub(super) fn count(bad: &str) -> Self {
        Self::plain().decimals(0).colors(thresholds(style::QUIET, &[(0.5, bad)]))
    }

    /// Milliseconds since the epoch, shown as the time since then.
    pub(super) fn ago() -> Self {
        Self::unit("dateTimeFromNow").width(130).with("custom.align", "left")
    }

    /// A share of a limit, between 0 and 1, as a bar.
    pub(super) fn share() -> Self {
        Self::ratio(&[(0.8, style::WARNING), (0.95, style::BAD)])
    }

    /// A share of time in which all tasks waited, as a bar. A tenth of the time is what the alert on memory allows.
    pub(super) fn stalled() -> Self {
        Self::ratio(&[(0.05, style::WARNING), (0.1, style::BAD)])
    }

    /// A colored word.
    pub(super) fn words(colors: &[(&str, &str)]) -> Self {
        Self::plain().text(style::words(colors))
    }

    /// A number from 1 on, shown as a colored word.
    pub(super) fn numbered(colors: &[(&str, &str)]) -> Self {
        Self::plain().text(style::numbered(colors))
    }

    /// 1 if present, 0 if missing.
    pub(super) fn presence() -> Self {
        let words = [("1", "present", style::GOOD), ("0", "missing", style::BAD)];
        Self::plain().text(style::mapping(words.into_iter()))
    }

    /// 1 if a reload is required, absent if not.
    pub(super) fn required() -> Self {
        Self::plain().text(style::mapping([("1", "yes", style::WARNING)].into_iter()))
    }

    fn ratio(steps: &[(f64, &str)]) -> Self {
        Self::unit("percentunit")
            .decimals(1)
            .gauge()
            .with("min", 0)
            .with("max", 1)
            .with("thresholds", thresholds(style::GOOD, steps))
    }

    fn gauge(self) -> Self {
        self.with(
            "custom.cellOptions",
            json!({"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
        )
    }

    /// A bar relative to the largest value.
    pub(super) fn bar(self, color: &str) -> Self {
        self.gauge().with("color", style::fixed(color)).with("min", 0).with("fieldMinMax", true)
    }

    pub(super) fn decimals(self, decimals: u32) -> Self {
        self.with("decimals", decimals)
    }

    pub(super) fn width(self, pixels: u32) -> Self {
        self.with("custom.width", pixels)
    }

    pub(super) fn min_width(self, pixels: u32) -> Self {
        self.with("custom.minWidth", pixels)
    }

    pub(super) fn colors(self, steps: Value) -> Self {
        self.with("thresholds", steps).with("custom.cellOptions", json!({"type": "color-text"}))
    }

    pub(super) fn link(self, link: Value) -> Self {
        self.with("links", json!([link]))
    }

    fn text(self, mapping: Value) -> Self {
        self.with("mappings", json!([mapping]))
            .with("custom.cellOptions", json!({"type": "color-text"}))
            .with("custom.align", "left")
    }

    fn with(mut self, id: &'static str, value: impl Into<Value>) -> Self {
        self.properties.push((id, value.into()));
        self
    }
}

/// Grafana omits the letter from the value field of a single query.
fn plain(field: &str, several: bool) -> String {
    if several { field.to_owned() } else { field.replace(" #A", "") }
}
