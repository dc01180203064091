//! When what crashed: one line for each unit, on a common axis.

use std::time::{Duration, SystemTime};

use super::View;
use super::human::{Lasting, Moment, units};
use super::phrases;
use super::writer::{Html, segment};
use crate::systemd::ledger::{Event, EventKind};

pub(super) fn section(view: &View<'_>, html: &mut Html) {
    html.put("<section id=crashes data-live aria-labelledby=crashes-title>\n");
    html.put("<h2 id=crashes-title>Last crashes</h2>\n");
    let lanes = lanes(view);
    if lanes.is_empty() {
        html.put("<p class=calm>None since this exporter was started, ");
        Moment(view.started).both(view.now, html);
        html.put(".</p></section>\n");
        return;
    }
    let axis = Axis::around(view, &lanes);
    html.put("<ol class=lanes>\n");
    for lane in lanes.iter().take(MOST) {
        lane.show(view, &axis, html);
    }
    html.put("</ol>\n<p class=axis aria-hidden=true><span>").text(Lasting(axis.length));
    html.put(" ago</span><span>now</span></p>\n");
    if lanes.len() > MOST {
        html.put("<p class=dim>").text(units(lanes.len() - MOST, "more unit", "more units"));
        html.put(": <a href=\"api/v1/events\">every event</a> has them.</p>");
    }
    html.put("</section>\n");
}

/// The crashes of one unit, the newest first.
struct Lane<'a> {
    crashes: Vec<&'a Event>,
}

/// The time that the lanes show.
struct Axis {
    end: SystemTime,
    length: Duration,
}

/// Every unit with a crash among the events, the one that crashed last first.
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

/// Whether something went wrong that no other event tells.
pub(super) fn is_crash(event: &Event) -> bool {
    match event.kind {
        EventKind::Failed | EventKind::StartLimitHit => true,
        // what failed in the job of a service is told of the service itself
        EventKind::JobFailed => {
            event.cause.as_deref() != Some("failed") || !event.unit.ends_with(".service")
        }
        EventKind::Exited | EventKind::Restarted => false,
    }
}

impl Axis {
    /// The shortest of the usual spans that holds every crash, but for those of last week.
    fn around(view: &View<'_>, lanes: &[Lane<'_>]) -> Self {
        let crashes = lanes.iter().filter_map(|lane| lane.crashes.last());
        let oldest = crashes.map(|crash| crash.at).min().unwrap_or(view.now);
        let age = view.now.duration_since(oldest).unwrap_or_default();
        let minutes = SPANS.into_iter().find(|minutes| age.as_secs() <= minutes * 60);
        let minutes = minutes.unwrap_or(SPANS[SPANS.len() - 1]);
        Self { end: view.now, length: Duration::from_secs(minutes * 60) }
    }

    /// Where a point in time is, in thousandths; `None` if it is before the beginning.
    fn place(&self, at: SystemTime) -> Option<u64> {
        let age = self.end.duration_since(at).unwrap_or_default();
        let left = self.length.checked_sub(age)?;
        u64::try_from(left.as_millis() * WIDTH / self.length.as_millis()).ok()
    }
}

impl Lane<'_> {
    fn show(&self, view: &View<'_>, axis: &Axis, html: &mut Html) {
        let last = self.crashes[0];
        let count = self.crashes.len();
        html.put("<li><p><a class=name href=\"unit/").text(segment(&last.unit)).put("\">");
        html.text(&last.unit).put("</a> ").text(phrases::happening(last)).put(" <span class=dim>");
        Moment(last.at).both(view.now, html);
        html.put("</span></p>");
        self.strip(axis, html);
        html.put("<p>");
        phrases::command(&phrases::journal_of(last), html);
        html.put("</p>");
        if count > 1 {
            html.put("<details id=\"crashes-of-").text(segment(&last.unit)).put("\"><summary>");
            html.text(units(count - 1, "earlier crash", "earlier crashes")).put("</summary><ol>");
            for crash in &self.crashes[1..] {
                html.put("<li>");
                Moment(crash.at).both(view.now, html);
                html.put(" ").text(phrases::happening(crash)).put(" ");
                phrases::command(&phrases::journal_of(crash), html);
            }
            html.put("</ol></details>");
        }
        html.put("\n");
    }

    /// A stroke for each crash.
    fn strip(&self, axis: &Axis, html: &mut Html) {
        let count = units(self.crashes.len(), "crash", "crashes");
        html.put("<svg class=strip viewBox=\"0 0 1000 16\" preserveAspectRatio=none role=img aria-label=\"");
        html.text(count).put("\"><path class=rail d=\"M0 15.5H1000\"/><path d=\"");
        let mut drawn = None;
        for place in self.crashes.iter().filter_map(|crash| axis.place(crash.at)) {
            if drawn.replace(place) != Some(place) {
                html.put("M").text(place).put(" 2V14");
            }
        }
        html.put("\"/></svg>");
    }
}

/// Of the axis, in the units of the drawing.
const WIDTH: u128 = 1000;

/// In minutes: from ten minutes to a week.
const SPANS: [u64; 7] = [10, 30, 60, 6 * 60, 24 * 60, 3 * 24 * 60, 7 * 24 * 60];

/// More lines than this are no overview.
const MOST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_now_and_begins_where_it_says() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let axis = Axis { end, length: Duration::from_secs(600) };
        let ago = |seconds| axis.place(end - Duration::from_secs(seconds));
        assert_eq!(ago(0), Some(1000));
        assert_eq!(ago(150), Some(750));
        assert_eq!(ago(600), Some(0));
        assert_eq!(ago(601), None);
        // a clock that was set back
        assert_eq!(axis.place(end + Duration::from_secs(5)), Some(1000));
    }
}
