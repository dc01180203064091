//! Tables: a row for each host or unit, a column for each expression.

use serde_json::{Map, Value, json};

use super::grafana::{Override, Panel};
use super::panel::{ref_id, to_host, to_unit, to_unit_everywhere};
use super::style::{self, thresholds};

/// A table in the making.
pub(super) struct Table {
    panel: Panel,
    keys: Vec<(&'static str, &'static str)>,
    order: Vec<String>,
    only: Option<&'static str>,
    shown: Vec<(String, String)>,
    sort: Option<(&'static str, bool)>,
}

/// How the values of a column look.
pub(super) struct Cell {
    unit: &'static str,
    properties: Vec<(&'static str, Value)>,
}

/// A table of what these labels tell apart.
pub(super) fn table(title: &str, description: &'static str, keys: &[&'static str]) -> Table {
    let mut panel = Panel::new("table", title, description).size(24, 8);
    panel.options = json!({"showHeader": true, "cellHeight": "sm"});
    panel.config().defaults.custom = json!({"align": "auto", "filterable": true});
    let mut table = Table {
        panel,
        keys: Vec::new(),
        order: Vec::new(),
        only: None,
        shown: Vec::new(),
        sort: None,
    };
    for &key in keys {
        table.key(key);
    }
    table
}

impl Table {
    /// The rows are those of this expression; it follows every column's.
    pub(super) fn only(mut self, rows: &'static str) -> Self {
        self.only = Some(rows);
        self
    }

    /// A label of the next column's expression as a column of its own.
    pub(super) fn label(mut self, label: &'static str, title: &'static str, cell: Cell) -> Self {
        self.order.push(label.to_owned());
        self.shown.push((label.to_owned(), title.to_owned()));
        self.style(title, cell.with("noValue", "–"));
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

    /// A query whose value is always 1: only its labels are shown.
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
            "instance" => ("Host", Cell::plain().width(190).link(to_host("${__value.raw}"))),
            "name" => ("Unit", Cell::plain()),
            "protocol" => ("Protocol", Cell::plain().width(90)),
            "address" => ("Address", Cell::plain()),
            "port" => ("Port", Cell::plain().width(80)),
            other => panic!("{other} needs a title"),
        };
        self.keys.push((label, title));
        let cell = match label {
            "name" if self.keys.iter().any(|(key, _)| *key == "instance") => {
                cell.link(to_unit("${__data.fields.Host}", "${__value.raw}"))
            }
            "name" => cell.link(to_unit_everywhere("${__value.raw}")),
            _ => cell,
        };
        self.order.push(label.to_owned());
        self.shown.push((label.to_owned(), title.to_owned()));
        self.style(title, cell.with("noValue", "–"));
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
    /// As it is.
    pub(super) fn plain() -> Self {
        Self { unit: "none", properties: Vec::new() }
    }

    pub(super) fn unit(unit: &'static str) -> Self {
        Self { unit, properties: Vec::new() }
    }

    /// A count that is bad above zero.
    pub(super) fn count(bad: &str) -> Self {
        Self::plain().decimals(0).colors(thresholds(style::QUIET, &[(0.5, bad)]))
    }

    /// Milliseconds since the epoch, as how long ago that is.
    pub(super) fn ago() -> Self {
        Self::unit("dateTimeFromNow").width(150)
    }

    /// A share between 0 and 1 as a bar.
    pub(super) fn share() -> Self {
        let steps = thresholds(style::GOOD, &[(0.8, style::WARNING), (0.95, style::BAD)]);
        Self::unit("percentunit")
            .decimals(1)
            .gauge()
            .with("min", 0)
            .with("max", 1)
            .with("thresholds", steps)
    }

    /// A word in its colour.
    pub(super) fn words(colors: &[(&str, &str)]) -> Self {
        Self::plain().text(style::words(colors))
    }

    /// A number from 1 on as a word in its colour.
    pub(super) fn numbered(colors: &[(&str, &str)]) -> Self {
        Self::plain().text(style::numbered(colors))
    }

    /// 1 for what is there, 0 for what is not.
    pub(super) fn there() -> Self {
        let words = [("1", "there", style::GOOD), ("0", "missing", style::BAD)];
        Self::plain().text(style::mapping(words.into_iter()))
    }

    /// 1 for what has changed; nothing for what has not.
    pub(super) fn changed() -> Self {
        Self::plain().text(style::mapping([("1", "yes", style::WARNING)].into_iter()))
    }

    /// A bar as long as the value is large among the others.
    pub(super) fn gauge(self) -> Self {
        self.with(
            "custom.cellOptions",
            json!({"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
        )
    }

    pub(super) fn bar(self, color: &str) -> Self {
        self.gauge().with("color", style::fixed(color)).with("min", 0).with("fieldMinMax", true)
    }

    pub(super) fn decimals(self, decimals: u32) -> Self {
        self.with("decimals", decimals)
    }

    pub(super) fn width(self, pixels: u32) -> Self {
        self.with("custom.width", pixels)
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
    }

    fn with(mut self, id: &'static str, value: impl Into<Value>) -> Self {
        self.properties.push((id, value.into()));
        self
    }
}

/// Grafana names the value of a table's only query without its letter.
fn plain(field: &str, several: bool) -> String {
    if several { field.to_owned() } else { field.replace(" #A", "") }
}
