//! The collectors: groups of metrics that are collected, or left out, as one.

use std::fmt::Write;

/// Every collector, by name.
pub const COLLECTORS: &[Collector] = &[
    on("boot"),
    on("cgroup"),
    off("conditions", "which units were not started because a condition of theirs failed"),
    off("dbus", "connections, names and match rules of the D-Bus daemon"),
    off("dependencies", "what each service needs and wants"),
    on("exporter"),
    on("journal"),
    on("listeners"),
    off("logind", "sessions and users"),
    off("machined", "virtual machines and containers"),
    on("manager"),
    off("networkd", "the state of network links"),
    on("process"),
    off("resolved", "how systemd-resolved answers name lookups"),
    off("sandbox", "which settings restrict what each service may do"),
    off("security", "how exposed each service is, assessed every hour"),
    on("services"),
    on("sockets"),
    on("timers"),
    off("unit-files", "which units are enabled; systemd takes up to 6 ms for each after a reload"),
    on("units"),
    off("users", "the units of users that linger, of their own managers; needs CAP_SETUID"),
];

/// A group of metrics that is collected, or left out, as one.
#[derive(Clone, Copy, Debug)]
pub struct Collector {
    /// Its name in `?collect[]=`, `?exclude[]=` and `--[no-]collector.NAME`.
    pub name: &'static str,
    /// What it tells, where it is off unless `--collector.NAME` asks for it.
    pub off: Option<&'static str>,
}

/// The collectors that are off: by their default or by a flag.
#[derive(Clone, Debug, Default)]
pub struct Off(pub Vec<&'static str>);

impl Off {
    /// Whether a collector is off.
    #[must_use]
    pub fn has(&self, collector: &str) -> bool {
        self.0.contains(&collector)
    }

    /// The collectors that a page leaves out, which asks for those in `collect` alone, or for all
    /// but those in `exclude`.
    ///
    /// # Errors
    /// One line that says what is good: for names that no collector has, for one in `collect` that
    /// is off, and where both lists have names.
    pub fn and_left_out(
        &self,
        collect: &[String],
        exclude: &[String],
    ) -> Result<Vec<&'static str>, String> {
        if !collect.is_empty() && !exclude.is_empty() {
            let text =
                "collect[] and exclude[] do not go together: ask for some, or for all but some";
            return Err(text.to_owned());
        }
        let names = || COLLECTORS.iter().map(|collector| collector.name);
        if let Some(name) = collect.iter().chain(exclude).find(|name| names().all(|n| n != **name))
        {
            let mut text = format!("there is no collector {name:?}; there are: ");
            for (at, name) in names().enumerate() {
                let _ = write!(text, "{}{name}", if at > 0 { ", " } else { "" });
            }
            return Err(text);
        }
        if let Some(name) = collect.iter().find(|name| self.has(name)) {
            let text = format!(
                "the collector {name} is off: the exporter has to be started with --collector.{name}"
            );
            return Err(text);
        }
        let is_out = |collector: &&str| {
            self.has(collector)
                || exclude.iter().any(|name| name == collector)
                || !(collect.is_empty() || collect.iter().any(|name| name == collector))
        };
        Ok(names().filter(is_out).collect())
    }
}

const fn on(name: &'static str) -> Collector {
    Collector { name, off: None }
}

const fn off(name: &'static str, tells: &'static str) -> Collector {
    Collector { name, off: Some(tells) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(
        off: &[&'static str],
        collect: &[&str],
        exclude: &[&str],
    ) -> Result<Vec<&'static str>, String> {
        let owned =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Off(off.to_vec()).and_left_out(&owned(collect), &owned(exclude))
    }

    #[test]
    fn what_is_off_is_left_out_and_what_else_the_question_leaves_out() {
        assert_eq!(left_out(&["resolved"], &[], &[]), Ok(vec!["resolved"]));
        assert_eq!(left_out(&["resolved"], &[], &["boot"]), Ok(vec!["boot", "resolved"]));
        assert_eq!(left_out(&["resolved"], &[], &["resolved"]), Ok(vec!["resolved"]));
        let one = left_out(&["resolved"], &["units"], &[]).unwrap();
        assert_eq!(one.len(), COLLECTORS.len() - 1);
        assert!(!one.contains(&"units"));
        assert!(!left_out(&[], &["resolved"], &[]).unwrap().contains(&"resolved"));
    }

    #[test]
    fn a_bad_question_is_answered_with_what_is_good() {
        for (collect, exclude, hint) in [
            (&["resolved"][..], &[][..], "--collector.resolved"),
            (&["nonsense"], &[], "boot, cgroup"),
            (&[], &["nonsense"], "sockets, timers"),
            (&["units"], &["boot"], "do not go together"),
        ] {
            let error = left_out(&["resolved"], collect, exclude).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }
}
