//! Phrases for states, results and events, and commands to copy.

use std::borrow::Cow;
use std::sync::Arc;

use super::View;
use super::writer::Html;
use crate::systemd::ledger::{Event, EventKind, ExitCode};
use crate::systemd::unit::Unit;
use crate::systemd::unit::value::InvocationId;

/// The event in a few words: `exited with status 3`.
pub(super) fn event(event: &Event) -> Cow<'static, str> {
    let (cause, status) = (event.cause.as_deref(), event.status.as_deref());
    let text = match event.kind {
        EventKind::Exited => "exited".into(),
        EventKind::Failed => failure(cause, status),
        EventKind::Restarted => "restarted".into(),
        EventKind::StartLimitHit => "start limit hit".into(),
        EventKind::JobFailed => match cause {
            Some("dependency") => "not started: a dependency failed".into(),
            Some("timeout") => "systemd job timed out".into(),
            Some(result) => match status {
                Some(status) => format!("systemd job result: {result}, status {status}").into(),
                None => format!("systemd job result: {result}").into(),
            },
            None => "systemd job failed".into(),
        },
    };
    match &event.command {
        Some(command) => format!("{text} ({command}=)").into(),
        None => text,
    }
}

/// Marks an event that no running exporter has seen.
pub(super) fn before_start(event: &Event, html: &mut Html) {
    if event.before_start {
        html.put(" <span class=dim>(before the exporter started)</span>");
    }
}

/// The result of the unit's last run; `None` if it is `success` or unknown.
pub(super) fn result(view: &View<'_>, unit: &Unit) -> Option<Cow<'static, str>> {
    let result = unit.failed_result()?;
    let is_of_run = |event: &&Arc<Event>| {
        event.unit == unit.name
            && event.kind == EventKind::Failed
            && event.cause.as_deref() == Some(result)
            && event.invocation_id == unit.run()
    };
    // the unit has the exit of its main process only
    if let Some(event) = view.events.iter().find(is_of_run).filter(|it| it.command.is_some()) {
        return Some(self::event(event));
    }
    let status = unit.service().and_then(|service| {
        let code = service.exit_code.and_then(ExitCode::from_number)?;
        Some(code.status(service.exit_status.unwrap_or(0)))
    });
    Some(failure(Some(result), status.as_deref()))
}

/// A failure by its `Result` and the exit status or signal.
fn failure(result: Option<&str>, status: Option<&str>) -> Cow<'static, str> {
    let signal = status.filter(|status| status.starts_with("SIG"));
    let text: Cow<'static, str> = match (result, status) {
        (Some("exit-code"), Some(status)) => return format!("exited with status {status}").into(),
        (Some("signal"), Some(status)) => return format!("killed by {status}").into(),
        (Some("core-dump"), Some(status)) => {
            return format!("killed by {status}, core dumped").into();
        }
        (Some("oom-kill"), _) => "killed: out of memory".into(),
        (Some("watchdog"), _) => "watchdog timeout".into(),
        (Some("timeout"), _) => "start or stop timeout".into(),
        (Some("protocol"), _) => "startup does not match Type= (protocol)".into(),
        (Some("resources"), _) => "a system operation failed (resources)".into(),
        (Some("start-limit-hit"), _) => "start limit hit".into(),
        (Some("trigger-limit-hit"), _) => "trigger limit hit".into(),
        (Some("exec-condition"), _) => "skipped by ExecCondition=".into(),
        (Some("unknown"), _) => "failed (cause unknown)".into(),
        (Some(result), _) => format!("failed: {result}").into(),
        (None, _) => "failed".into(),
    };
    match signal {
        Some(signal) => format!("{text}, {signal}").into(),
        None => text,
    }
}

/// The CSS class of a state, which colors it. The text of the state always stands beside it.
pub(super) fn class(state: &str) -> &'static str {
    match state {
        "active" | "running" => "good",
        "failed" | START_LIMIT_HIT | "degraded" | "bad-setting" | "error" => "bad",
        "inactive" => "idle",
        _ => "busy",
    }
}

/// Writes a state in its color.
pub(super) fn state(state: &str, html: &mut Html) {
    html.put("<span class=").put(class(state)).put(">").text(state).put("</span>");
}

/// The command for the journal of an event: of its run, or else of its unit.
pub(super) fn event_journal(event: &Event) -> String {
    event.invocation_id.map_or_else(|| journal(&event.unit), run_journal)
}

/// The command for the journal of one run: the output of its processes, and systemd's messages about
/// it. Output may be absent if the process exited before journald looked up its unit.
pub(super) fn run_journal(run: InvocationId) -> String {
    let run = run.hex();
    format!("journalctl _SYSTEMD_INVOCATION_ID={run} + INVOCATION_ID={run}")
}

/// The command for the journal of a unit.
pub(super) fn journal(unit: &str) -> String {
    format!("journalctl --unit={} --pager-end", quoted(unit))
}

/// A systemctl command for a unit.
pub(super) fn systemctl(verb: &str, unit: &str) -> String {
    // the name of the root slice, -.slice, looks like an option
    let separator = if unit.starts_with('-') { "-- " } else { "" };
    format!("systemctl {verb} {separator}{}", quoted(unit))
}

/// Writes a command to copy.
pub(super) fn command(text: &str, html: &mut Html) {
    html.put("<code class=cmd>").text(text).put("</code>");
}

/// The argument, quoted for a shell where necessary.
fn quoted(argument: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@:._-".contains(&byte);
    if argument.bytes().all(plain) && !argument.is_empty() {
        return argument.into();
    }
    format!("'{}'", argument.replace('\'', r"'\''")).into()
}

/// The state of a failed unit that systemd does not restart: `StartLimitBurst=` was reached.
pub(super) const START_LIMIT_HIT: &str = "failed, start limit hit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_includes_status_or_signal_if_known() {
        for (result, status, text) in [
            (Some("exit-code"), Some("3"), "exited with status 3"),
            (Some("core-dump"), Some("SIGSEGV"), "killed by SIGSEGV, core dumped"),
            (Some("watchdog"), Some("SIGABRT"), "watchdog timeout, SIGABRT"),
            (Some("oom-kill"), Some("0"), "killed: out of memory"),
            (Some("novel"), None, "failed: novel"),
            (Some("signal"), None, "failed: signal"),
        ] {
            assert_eq!(failure(result, status), text);
        }
    }

    #[test]
    fn commands_are_quoted_for_a_shell() {
        assert_eq!(systemctl("status", "nginx.service"), "systemctl status nginx.service");
        assert_eq!(systemctl("status", "-.slice"), "systemctl status -- -.slice");
        assert_eq!(journal("a\\x2db.mount"), "journalctl --unit='a\\x2db.mount' --pager-end");
        assert_eq!(quoted("it's; $(x)"), r"'it'\''s; $(x)'");
    }
}
