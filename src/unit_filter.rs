//! The selection of units to export.

use std::sync::Arc;

use regex::Regex;

use crate::short_lived;
use crate::short_lived::Connection;

/// Units whose name matches `include` and not `exclude`.
#[derive(Clone, Debug)]
pub struct Selection {
    include: Regex,
    exclude: Regex,
    sums_short_lived: bool,
}

impl Selection {
    /// Each expression must match the whole name.
    ///
    /// # Errors
    /// An invalid expression; the text marks the position.
    pub fn new(include: &str, exclude: &str) -> Result<Self, regex::Error> {
        let (include, exclude) = (anchored(include)?, anchored(exclude)?);
        Ok(Self { include, exclude, sums_short_lived: true })
    }

    /// Exports units with short-lived names one by one, instead of their sums.
    #[must_use]
    pub fn with_each_short_lived(self, each: bool) -> Self {
        Self { sums_short_lived: !each, ..self }
    }

    /// The name under which the unit is summed; `None` if it is exported by itself. `is_loaded`
    /// reports whether there is a unit of that name.
    #[must_use]
    pub fn group(&self, name: &str, is_loaded: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        if !self.sums_short_lived {
            return None;
        }
        let group = short_lived::group(name).or_else(|| {
            let connection = Connection::parse(name)?;
            is_loaded(&connection.socket()).then(|| connection.template())
        });
        group.map(Into::into)
    }

    /// The anchored expression of units to export.
    #[must_use]
    pub fn include(&self) -> &str {
        self.include.as_str()
    }

    /// Whether the unit with this name is exported.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        self.includes_any(&[name])
    }

    /// Whether the unit with these names is exported: one of them matches `include`, and none
    /// `exclude`.
    #[must_use]
    pub fn includes_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.include.is_match(name))
            && !names.iter().any(|name| self.excludes(name))
    }

    /// Whether the unit with this name is hidden: its name is not exported with other units either.
    #[must_use]
    pub fn excludes(&self, name: &str) -> bool {
        self.exclude.is_match(name)
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::new(INCLUDE, EXCLUDE).expect("the defaults are valid")
    }
}

/// Compiles an expression that must match the whole text.
///
/// # Errors
/// The expression is invalid; the text marks the position.
pub fn anchored(expression: &str) -> Result<Regex, regex::Error> {
    // compiled alone first, so that the position in an error is the user's
    Regex::new(expression)?;
    Regex::new(&format!("^(?:{expression})$"))
}

/// All units.
pub const INCLUDE: &str = ".+";

/// Device units, the scopes of sessions and of transient programs, and user managers: many,
/// short-lived, and rarely monitored.
pub const EXCLUDE: &str = r".+\.device|(session|run)-.+\.scope|user@.+\.service";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_anchored() {
        let selection = Selection::new("nginx.service|a", "").unwrap();
        assert!(selection.includes("nginx.service"));
        assert!(!selection.includes("my-nginx.service"));
        assert!(!selection.includes("nginx.service.d"));
    }

    #[test]
    fn default_excludes_only_short_lived_units() {
        let selection = Selection::default();
        for name in ["dev-sda.device", "session-3.scope", "run-u7.scope", "user@1000.service"] {
            assert!(!selection.includes(name), "{name}");
        }
        for name in
            ["run-u7.service", "init.scope", "user-1000.slice", "dev-disk-by\\x2duuid-1.swap"]
        {
            assert!(selection.includes(name), "{name}");
        }
    }

    #[test]
    fn error_marks_the_position() {
        let error = Selection::new("a(b", "").unwrap_err().to_string();
        assert!(error.contains("a(b\n     ^"), "{error}");
    }
}
