//! What a reader asked of the table of units: the query of the page's address.

use std::cmp::Ordering;
use std::fmt::Write;

use super::unit_view::Row;

/// Which units are shown, and in which order. What makes no sense is passed over: a page is for
/// people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    /// `q`: units whose name contains this, in whatever case.
    pub(super) text: String,
    /// `state`: units in this state.
    pub(super) state: String,
    /// `type`: units of this kind.
    pub(super) kind: String,
    /// `sort`
    pub(super) column: Column,
    /// Whether it is the other way round than the column is of itself: `sort=-name`.
    pub(super) reversed: bool,
    /// `all`: however many they are.
    pub(super) all: bool,
}

/// What the table can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    /// What needs somebody first.
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

    /// Its word in a query.
    pub(super) fn word(self) -> &'static str {
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

    /// Whether it begins with the smallest: of most columns the largest is of interest.
    pub(super) fn ascends(self) -> bool {
        matches!(self, Self::Name | Self::State)
    }

    /// How two rows stand in this column; what is not known comes last either way.
    fn compare(self, a: &Row<'_>, b: &Row<'_>, reversed: bool) -> Ordering {
        let directed = |ordering: Ordering| if reversed { ordering.reverse() } else { ordering };
        let known = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => directed(b.total_cmp(&a)),
            _ => b.is_some().cmp(&a.is_some()),
        };
        match self {
            Self::Name => directed(a.unit.name.cmp(&b.unit.name)),
            Self::State => directed(a.urgency().cmp(&b.urgency())),
            _ => known(a.number(self), b.number(self)),
        }
    }
}

impl Question {
    /// From the query's keys and values.
    pub(super) fn new(query: &[(String, String)]) -> Self {
        let mut question = Self::default();
        for (key, value) in query {
            match &**key {
                "q" => value.trim()[..].clone_into(&mut question.text),
                "state" => question.state.clone_from(value),
                "type" => question.kind.clone_from(value),
                "all" => question.all = true,
                "sort" => {
                    let (word, reversed) =
                        value.strip_prefix('-').map_or((&**value, false), |word| (word, true));
                    if let Some(column) = Column::ALL.into_iter().find(|c| c.word() == word) {
                        (question.column, question.reversed) = (column, reversed);
                    }
                }
                _ => {}
            }
        }
        question.text.truncate(question.text.floor_char_boundary(LONGEST));
        question.text.truncate(question.text.trim_end().len());
        question
    }

    /// The query that asks this: `?sort=-name&q=nginx`; `?` for what is shown unasked.
    pub(super) fn query(&self) -> String {
        let mut query = String::from("?");
        let mut add = |key: &str, value: &str| {
            let between = if query.len() > 1 { "&" } else { "" };
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            // writing to a string cannot fail
            let _ = write!(query, "{between}{key}={value}");
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
        query
    }

    /// The value of `sort`; `None` for the order that is shown unasked.
    pub(super) fn sort(&self) -> Option<String> {
        let sign = if self.reversed { "-" } else { "" };
        (self.column != Column::default() || self.reversed)
            .then(|| format!("{sign}{}", self.column.word()))
    }

    /// The same question sorted by that column; the other way round if it is already.
    pub(super) fn by(&self, column: Column) -> Self {
        let reversed = self.column == column && !self.reversed;
        Self { column, reversed, ..self.clone() }
    }

    /// Whether units are left out by what was asked.
    pub(super) fn narrows(&self) -> bool {
        !(self.text.is_empty() && self.state.is_empty() && self.kind.is_empty())
    }

    /// The rows asked for, in their order.
    pub(super) fn pick<'r, 'a>(&self, rows: &'r [Row<'a>]) -> Vec<&'r Row<'a>> {
        let text = self.text.to_lowercase();
        let asked = |row: &&Row<'_>| {
            let unit = row.unit;
            (text.is_empty() || unit.name.to_lowercase().contains(&text))
                && (self.state.is_empty() || unit.is(&self.state))
                && (self.kind.is_empty() || unit.kind.as_str() == self.kind)
        };
        let mut picked: Vec<_> = rows.iter().filter(asked).collect();
        picked.sort_by(|a, b| {
            let ordering = self.column.compare(a, b, self.reversed);
            ordering.then_with(|| a.unit.name.cmp(&b.unit.name))
        });
        picked
    }
}

/// As long as a unit's name.
const LONGEST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn question(query: &str) -> Question {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Question::new(&pairs)
    }

    #[test]
    fn a_question_is_its_own_query_again() {
        for query in ["?", "?q=a%5Cx2d%26b", "?state=failed&type=service&sort=-memory&all=1"] {
            assert_eq!(question(&query[1..]).query(), query);
        }
        assert_eq!(question("sort=-nonsense&x=y&q=+nginx+").query(), "?q=nginx");
    }

    #[test]
    fn asking_twice_for_a_column_turns_it_round() {
        let once = Question::default().by(Column::Memory);
        assert_eq!(once.query(), "?sort=memory");
        assert_eq!(once.by(Column::Memory).query(), "?sort=-memory");
        assert_eq!(once.by(Column::Memory).by(Column::Memory), once);
    }
}
