//! Which units are exported.

use regex::Regex;

/// Units whose name matches `include` and not `exclude`.
#[derive(Clone, Debug)]
pub struct Selection {
    include: Regex,
    exclude: Regex,
}

impl Selection {
    /// Takes two regular expressions, each anchored at both ends.
    ///
    /// # Errors
    /// The expression that is not valid, with the place marked.
    pub fn new(include: &str, exclude: &str) -> Result<Self, regex::Error> {
        Ok(Self { include: anchored(include)?, exclude: anchored(exclude)? })
    }

    /// Whether the unit of that name is exported.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        self.include.is_match(name) && !self.exclude.is_match(name)
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::new(INCLUDE, EXCLUDE).expect("the defaults are valid")
    }
}

/// Checks one expression as the command line gives it.
///
/// # Errors
/// What is wrong with it, with the place marked.
pub fn anchored(expression: &str) -> Result<Regex, regex::Error> {
    // checked alone first: the place that an error marks is then the user's own
    Regex::new(expression)?;
    Regex::new(&format!("^(?:{expression})$"))
}

/// Every unit.
pub const INCLUDE: &str = ".+";

/// Device units, the scopes of sessions and of transient programs, and user managers: many,
/// short-lived, and seldom what somebody watches a server for.
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
    fn the_default_leaves_out_noise_and_nothing_else() {
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
    fn errors_point_at_the_place() {
        let error = Selection::new("a(b", "").unwrap_err().to_string();
        assert!(error.contains("a(b\n     ^"), "{error}");
    }
}
