//! The section on recent crashes: one lane per unit, on a common time axis.

use std::time::{Duration, SystemTime};

use super::View;
use super::human::{HumanDuration, HumanTime, pluralize};
use super::phrases;
use super::writer::{Html, segment};
use crate::systemd::ledger::{Event, EventKind};

pub(super) fn section(view: &View<'_>, html: &mut Html) {
    html.put("<section id=crashes data-live aria-labelledby=crashes-title>\n");
    html.put("<h2 id=crashes-title>Recent crashes</h2>\n");
    let lanes = lanes(view);
    if lanes.is_empty() {
        html.put("<p class=empty>None since ").text(view.counting_began()).put(", ");
        HumanTime(view.counted_since()).write(view.now, html);
        html.put(".</p></section>\n");
        return;
    }
    let axis = Axis::around(view, &lanes);
    html.put("<ol class=lanes>\n");
    for lane in lanes.iter().take(MAX_LANES) {
        lane.write(view, &axis, html);
    }
    html.put("</ol>\n<p class=axis aria-hidden=true><span>").text(HumanDuration(axis.length));
    html.put(" ago</span><span>now</span></p>\n");
    if lanes.len() > MAX_LANES {
        html.put("<p class=dim>").text(pluralize(
            (lanes.len() - MAX_LANES) as u64,
            "more unit",
            "more units",
        ));
        html.put(": see <a href=\"api/v1/events\">all events</a>.</p>");
    }
    html.put("</section>\n");
}

/// The crashes of one unit, newest first.
struct Lane<'a> {
    crashes: Vec<&'a Event>,
}

/// The time span of the lanes.
struct Axis {
    end: SystemTime,
    length: Duration,
}

/// Every unit with a crash among the events, the latest crash first.
fn lanes<'a>(view: &View<'a>) -> Vec<Lane<'a>> {
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    for event in view.events.iter().filter(|event| is_crash(event)) {
        match lanes.iter_mut().find(|lane| lane.crashes[0].unit == event.unit) {
            Some(lane) => lane.crashes.push(event),
            None => lanes.push(Lane { crashes: vec![event] }),
        }
    }
    lanes
}

/// Whether the event is a failure that no other event reports.
pub(super) fn is_crash(event: &Event) -> bool {
    match event.kind {
        EventKind::Failed | EventKind::StartLimitHit => true,
        // a failed job of a service follows from a failure of the service, which has its own event
        EventKind::JobFailed => {
            event.cause.as_deref() != Some("failed") || !event.unit.ends_with(".service")
        }
        EventKind::Exited | EventKind::Restarted => false,
    }
}

impl Axis {
    /// The shortest of [`SPANS`] with all crashes, or else the longest.
    fn around(view: &View<'_>, lanes: &[Lane<'_>]) -> Self {
        let crashes = lanes.iter().filter_map(|lane| lane.crashes.last());
        let oldest = crashes.map(|crash| crash.at).min().unwrap_or(view.now);
        let age = view.now.duration_since(oldest).unwrap_or_default();
        let minutes = SPANS.into_iter().find(|minutes| age.as_secs() <= minutes * 60);
        let minutes = minutes.unwrap_or(SPANS[SPANS.len() - 1]);
        Self { end: view.now, length: Duration::from_secs(minutes * 60) }
    }

    /// The position of a point in time, from 0 to [`WIDTH`]; `None` if it is before the axis.
    fn position(&self, at: SystemTime) -> Option<u64> {
        let age = self.end.duration_since(at).unwrap_or_default();
        let left = self.length.checked_sub(age)?;
        u64::try_from(left.as_millis() * WIDTH / self.length.as_millis()).ok()
    }
}

impl Lane<'_> {
    fn write(&self, view: &View<'_>, axis: &Axis, html: &mut Html) {
        let last = self.crashes[0];
        let count = self.crashes.len();
        html.put("<li><p><a class=name href=\"unit/").text(segment(&last.unit)).put("\">");
        html.text(&last.unit).put("</a> ").text(phrases::event(last)).put(" <span class=dim>");
        HumanTime(last.at).write(view.now, html);
        phrases::before_start(last, html);
        html.put("</span></p>");
        self.strip(axis, html);
        html.put("<p>");
        phrases::command(&phrases::event_journal(last), html);
        html.put("</p>");
        if count > 1 {
            html.put("<details id=\"crashes-of-").text(segment(&last.unit)).put("\"><summary>");
            html.text(pluralize(count as u64 - 1, "earlier crash", "earlier crashes"))
                .put("</summary><ol>");
            for crash in &self.crashes[1..] {
                html.put("<li>");
                HumanTime(crash.at).write(view.now, html);
                html.put(" ").text(phrases::event(crash));
                phrases::before_start(crash, html);
                html.put(" ");
                phrases::command(&phrases::event_journal(crash), html);
            }
            html.put("</ol></details>");
        }
        html.put("\n");
    }

    /// Writes the lane as a drawing with one stroke per crash.
    fn strip(&self, axis: &Axis, html: &mut Html) {
        let count = pluralize(self.crashes.len() as u64, "crash", "crashes");
        html.put("<svg class=strip viewBox=\"0 0 1000 16\" preserveAspectRatio=none role=img aria-label=\"");
        html.text(count).put("\"><path class=rail d=\"M0 15.5H1000\"/><path d=\"");
        let mut drawn = None;
        for position in self.crashes.iter().filter_map(|crash| axis.position(crash.at)) {
            if drawn.replace(position) != Some(position) {
                html.put("M").text(position).put(" 2V14");
            }
        }
        html.put("\"/></svg>");
    }
}

/// The width of the axis, in units of the drawing.
const WIDTH: u128 = 1000;

/// Lengths of the axis in minutes: from ten minutes to a week.
const SPANS: [u64; 7] = [10, 30, 60, 6 * 60, 24 * 60, 3 * 24 * 60, 7 * 24 * 60];

const MAX_LANES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_ends_now_and_starts_at_its_length() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let axis = Axis { end, length: Duration::from_secs(600) };
        let ago = |seconds| axis.position(end - Duration::from_secs(seconds));
        assert_eq!(ago(0), Some(1000));
        assert_eq!(ago(150), Some(750));
        assert_eq!(ago(600), Some(0));
        assert_eq!(ago(601), None);
        // the clock was set back
        assert_eq!(axis.position(end + Duration::from_secs(5)), Some(1000));
    }
}
