//! What systemd says, in words: states, ends, commands.

use std::borrow::Cow;

use super::writer::Html;
use crate::systemd::ledger::{Event, EventKind, ExitCode};
use crate::systemd::unit::value::InvocationId;
use crate::systemd::unit::{Detail, Unit};

/// What happened, in a few words: `exited with status 3`.
pub(super) fn happening(event: &Event) -> Cow<'static, str> {
    let (cause, status) = (event.cause.as_deref(), event.status.as_deref());
    match event.kind {
        EventKind::Exited => "ended".into(),
        EventKind::Failed => end(cause, status),
        EventKind::Restarted => "was restarted".into(),
        EventKind::StartLimitHit => "was given up: it failed too often".into(),
        EventKind::JobFailed => match cause {
            Some("dependency") => "did not start: something it needs failed".into(),
            Some("timeout") => "a job for it took too long".into(),
            Some(result) => format!("a job for it ended: {result}").into(),
            None => "a job for it failed".into(),
        },
    }
}

/// Why a unit is failed, as far as it is known.
pub(super) fn reason(unit: &Unit) -> Option<Cow<'static, str>> {
    let result = match &unit.detail {
        Detail::Service(service) => {
            let code = service.exit_code.and_then(ExitCode::from_number);
            let status = code.map(|code| code.status(service.exit_status.unwrap_or(0)));
            let result = service.result.as_deref().filter(|result| *result != "success")?;
            return Some(end(Some(result), status.as_deref()));
        }
        Detail::Socket(socket) => socket.result.as_deref(),
        Detail::Timer(timer) => timer.result.as_deref(),
        Detail::Mount(_) | Detail::None => None,
    };
    result.filter(|result| *result != "success").map(|result| end(Some(result), None))
}

/// A result of systemd's, and the exit status or the signal's name.
fn end(result: Option<&str>, status: Option<&str>) -> Cow<'static, str> {
    let signal = status.filter(|status| status.starts_with("SIG"));
    let text: Cow<'static, str> = match (result, status) {
        (Some("exit-code"), Some(status)) => return format!("exited with status {status}").into(),
        (Some("signal"), Some(status)) => return format!("was killed by {status}").into(),
        (Some("core-dump"), Some(status)) => {
            return format!("was killed by {status} and dumped core").into();
        }
        (Some("oom-kill"), _) => "ran out of memory".into(),
        (Some("watchdog"), _) => "gave no sign of life: watchdog".into(),
        (Some("timeout"), _) => "took too long to start or stop".into(),
        (Some("protocol"), _) => "did not start as its Type= promises".into(),
        (Some("resources"), _) => "could not be given what it needs".into(),
        (Some("start-limit-hit"), _) => "was started too often".into(),
        (Some("trigger-limit-hit"), _) => "was triggered too often".into(),
        (Some("exec-condition"), _) => "its condition failed".into(),
        (Some("unknown"), _) => "failed unseen".into(),
        (Some(result), _) => format!("failed: {result}").into(),
        (None, _) => "failed".into(),
    };
    match signal {
        Some(signal) => format!("{text}, {signal}").into(),
        None => text,
    }
}

/// The class of a state's colour: the state itself is always told in words beside it.
pub(super) fn colour(state: &str) -> &'static str {
    match state {
        "active" | "running" => "good",
        "failed" | "failed, given up" | "degraded" | "bad-setting" | "error" => "bad",
        "inactive" => "idle",
        _ => "busy",
    }
}

/// A state with its colour.
pub(super) fn state(word: &str, html: &mut Html) {
    html.put("<span class=").put(colour(word)).put(">").text(word).put("</span>");
}

/// The journal of what an event concerns, to be copied into a shell.
pub(super) fn journal_of(event: &Event) -> String {
    event.invocation_id.map_or_else(|| journal(&event.unit), run_journal)
}

/// The journal of one run: what its processes said, and what systemd says of it. Of a process that
/// ended at once, the journal may have learnt too late whose it was.
pub(super) fn run_journal(run: InvocationId) -> String {
    let run = run.hex();
    format!("journalctl _SYSTEMD_INVOCATION_ID={run} + INVOCATION_ID={run}")
}

/// The journal of a unit.
pub(super) fn journal(unit: &str) -> String {
    format!("journalctl --unit={} --pager-end", quoted(unit))
}

/// What systemctl says of a unit.
pub(super) fn systemctl(verb: &str, unit: &str) -> String {
    // the root slice begins as an option does
    let end = if unit.starts_with('-') { "-- " } else { "" };
    format!("systemctl {verb} {end}{}", quoted(unit))
}

/// A command to copy.
pub(super) fn command(text: &str, html: &mut Html) {
    html.put("<code class=cmd>").text(text).put("</code>");
}

/// One word of a shell's.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@:._-".contains(&byte);
    if word.bytes().all(plain) && !word.is_empty() {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_with_what_is_known() {
        for (result, status, text) in [
            (Some("exit-code"), Some("3"), "exited with status 3"),
            (Some("core-dump"), Some("SIGSEGV"), "was killed by SIGSEGV and dumped core"),
            (Some("watchdog"), Some("SIGABRT"), "gave no sign of life: watchdog, SIGABRT"),
            (Some("oom-kill"), Some("0"), "ran out of memory"),
            (Some("novel"), None, "failed: novel"),
            (Some("signal"), None, "failed: signal"),
        ] {
            assert_eq!(end(result, status), text);
        }
    }

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(systemctl("status", "nginx.service"), "systemctl status nginx.service");
        assert_eq!(systemctl("status", "-.slice"), "systemctl status -- -.slice");
        assert_eq!(journal("a\\x2db.mount"), "journalctl --unit='a\\x2db.mount' --pager-end");
        assert_eq!(quoted("it's; $(x)"), r"'it'\''s; $(x)'");
    }
}
