//! The filter and order of the table of units: the query of the page's URL.

use std::cmp::Ordering;
use std::fmt::Write;

use super::unit_view::UnitView;

/// The units to show, and their order. Unknown keys and columns are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TableQuery {
    /// `q`: units with a name that contains this text, ignoring case.
    pub(super) text: String,
    /// `state`: units in this state.
    pub(super) state: String,
    /// `type`: units of this type.
    pub(super) kind: String,
    /// `sort`: the column.
    pub(super) column: Column,
    /// Whether the default order of the column is reversed: `sort=-name`.
    pub(super) reversed: bool,
    /// `all`: without the limit on the number of units.
    pub(super) all: bool,
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    /// The most urgent first.
    #[default]
    State,
    Since,
    Restarts,
    Failures,
    Cpu,
    Memory,
    Tasks,
    Files,
    Listens,
}

impl Column {
    pub(super) const ALL: [Self; 10] = [
        Self::Name,
        Self::State,
        Self::Since,
        Self::Restarts,
        Self::Failures,
        Self::Cpu,
        Self::Memory,
        Self::Tasks,
        Self::Files,
        Self::Listens,
    ];

    /// The name in a query.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Since => "since",
            Self::Restarts => "restarts",
            Self::Failures => "failures",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Tasks => "tasks",
            Self::Files => "files",
            Self::Listens => "listens",
        }
    }

    /// Whether the default order is ascending; most columns have the largest value first.
    pub(super) fn ascends(self) -> bool {
        matches!(self, Self::Name | Self::State)
    }

    /// Compares two units in this column; unknown values come last in either direction.
    fn compare(self, a: &UnitView<'_>, b: &UnitView<'_>, reversed: bool) -> Ordering {
        let directed = |ordering: Ordering| if reversed { ordering.reverse() } else { ordering };
        let numbers = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => directed(b.total_cmp(&a)),
            _ => b.is_some().cmp(&a.is_some()),
        };
        match self {
            Self::Name => directed(a.unit.name.cmp(&b.unit.name)),
            Self::State => directed(a.urgency().cmp(&b.urgency())),
            _ => numbers(a.number(self), b.number(self)),
        }
    }
}

impl TableQuery {
    /// Parses the decoded keys and values of the URL.
    pub(super) fn parse(pairs: &[(String, String)]) -> Self {
        let mut query = Self::default();
        for (key, value) in pairs {
            match &**key {
                "q" => value.trim()[..].clone_into(&mut query.text),
                "state" => query.state.clone_from(value),
                "type" => query.kind.clone_from(value),
                "all" => query.all = true,
                "sort" => {
                    let (name, reversed) =
                        value.strip_prefix('-').map_or((&**value, false), |name| (name, true));
                    if let Some(column) = Column::ALL.into_iter().find(|c| c.as_str() == name) {
                        (query.column, query.reversed) = (column, reversed);
                    }
                }
                _ => {}
            }
        }
        query.text.truncate(query.text.floor_char_boundary(MAX_TEXT_LEN));
        query.text.truncate(query.text.trim_end().len());
        query
    }

    /// The relative URL: `?q=nginx&sort=-name`; `?` for the default.
    pub(super) fn url(&self) -> String {
        let mut url = String::from("?");
        let mut add = |key: &str, value: &str| {
            let separator = if url.len() > 1 { "&" } else { "" };
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            // writing to a string cannot fail
            let _ = write!(url, "{separator}{key}={value}");
        };
        for (key, value) in [("q", &self.text), ("state", &self.state), ("type", &self.kind)] {
            if !value.is_empty() {
                add(key, value);
            }
        }
        if let Some(sort) = self.sort() {
            add("sort", &sort);
        }
        if self.all {
            add("all", "1");
        }
        url
    }

    /// The value of `sort`; `None` for the default order.
    pub(super) fn sort(&self) -> Option<String> {
        let sign = if self.reversed { "-" } else { "" };
        (self.column != Column::default() || self.reversed)
            .then(|| format!("{sign}{}", self.column.as_str()))
    }

    /// The same query sorted by the column; in reverse if the query is already sorted by it.
    pub(super) fn sorted_by(&self, column: Column) -> Self {
        let reversed = self.column == column && !self.reversed;
        Self { column, reversed, ..self.clone() }
    }

    /// Whether a filter is set.
    pub(super) fn is_filtered(&self) -> bool {
        !(self.text.is_empty() && self.state.is_empty() && self.kind.is_empty())
    }

    /// The units that match the filters, in order.
    pub(super) fn select<'r, 'a>(&self, rows: &'r [UnitView<'a>]) -> Vec<&'r UnitView<'a>> {
        let text = self.text.to_lowercase();
        let matches = |row: &&UnitView<'_>| {
            let unit = row.unit;
            (text.is_empty() || unit.names().any(|name| name.to_lowercase().contains(&text)))
                && (self.state.is_empty() || unit.is(&self.state))
                && (self.kind.is_empty() || unit.kind.as_str() == self.kind)
        };
        let mut selected: Vec<_> = rows.iter().filter(matches).collect();
        selected.sort_by(|a, b| {
            let ordering = self.column.compare(a, b, self.reversed);
            ordering.then_with(|| a.unit.name.cmp(&b.unit.name))
        });
        selected
    }
}

/// The maximum length of a unit name, in bytes.
const MAX_TEXT_LEN: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> TableQuery {
        let pairs: Vec<_> = form_urlencoded::parse(url.as_bytes()).into_owned().collect();
        TableQuery::parse(&pairs)
    }

    #[test]
    fn parsing_a_url_returns_the_query() {
        for url in ["?", "?q=a%5Cx2d%26b", "?state=failed&type=service&sort=-memory&all=1"] {
            assert_eq!(parse(&url[1..]).url(), url);
        }
        assert_eq!(parse("sort=-nonsense&x=y&q=+nginx+").url(), "?q=nginx");
    }

    #[test]
    fn sorting_twice_by_a_column_reverses_the_order() {
        let once = TableQuery::default().sorted_by(Column::Memory);
        assert_eq!(once.url(), "?sort=memory");
        assert_eq!(once.sorted_by(Column::Memory).url(), "?sort=-memory");
        assert_eq!(once.sorted_by(Column::Memory).sorted_by(Column::Memory), once);
    }
}
