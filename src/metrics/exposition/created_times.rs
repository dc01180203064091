//! Decides which created times are served. Prometheus adds a 0 at the created time of a counter if it is later than the last
//! sample: one that the clock of the host set too late would repeat the counter's value in every increase.

use std::time::{Duration, SystemTime};

/// The created times of the responses until now.
#[derive(Clone, Copy, Debug)]
pub(super) struct CreatedTimes {
    now: SystemTime,
    /// The latest time that the clock has shown.
    latest: SystemTime,
    /// The times that the clock has shown twice: it was set back from the end to the start.
    ambiguous: Option<(SystemTime, SystemTime)>,
}

impl Default for CreatedTimes {
    fn default() -> Self {
        let (now, latest) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
        Self { now, latest, ambiguous: None }
    }
}

impl CreatedTimes {
    /// The state for a response at that time.
    pub(super) fn at(self, now: SystemTime) -> Self {
        let mut new = Self { now, ..self };
        new.record(now);
        if new.latest > now + TOLERANCE {
            let start = new.ambiguous.map_or(now, |(start, _)| start.min(now));
            new.ambiguous = Some((start, new.latest));
        }
        new
    }

    /// The state after another response at the same time or later.
    pub(super) fn merge(self, other: Self) -> Self {
        let ends = [self.ambiguous, other.ambiguous].into_iter().flatten();
        let ambiguous = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        Self { now: self.now.max(other.now), latest: self.latest.max(other.latest), ambiguous }
    }

    /// Whether the counter was certainly 0 at that time: not in the future, and not shown twice by
    /// the clock.
    pub(super) fn is_plausible(&mut self, created: SystemTime) -> bool {
        self.record(created);
        let is_ambiguous =
            self.ambiguous.is_some_and(|(start, end)| start < created && created <= end);
        created <= self.now && !is_ambiguous
    }

    fn record(&mut self, time: SystemTime) {
        self.latest = self.latest.max(time);
    }
}

/// The clock is slewed by less between two responses.
const TOLERANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn past_times_are_plausible() {
        let mut times = CreatedTimes::default().at(at(1000));
        assert!(times.is_plausible(at(1000)));
        assert!(times.is_plausible(at(0)));
        assert!(!times.is_plausible(at(1001)));
    }

    #[test]
    fn times_before_a_correction_of_the_clock_stay_implausible() {
        let seen = CreatedTimes::default().at(at(5000));
        let mut corrected = seen.at(at(1000));
        for now in [1001, 4000, 6000] {
            assert!(!corrected.is_plausible(at(4500)), "{now}: counted before the correction");
            assert!(corrected.is_plausible(at(900)), "{now}");
            corrected = corrected.at(at(now));
        }
        assert!(corrected.is_plausible(at(5500)), "after the clock has passed the wrong time");
    }

    #[test]
    fn future_time_stays_implausible_when_it_has_passed() {
        let mut first = CreatedTimes::default().at(at(1000));
        assert!(!first.is_plausible(at(5000)), "set before the first response");
        let kept = CreatedTimes::default().merge(first);
        let mut later = kept.at(at(1015)).at(at(6000));
        assert!(!later.is_plausible(at(5000)));
        assert!(later.is_plausible(at(5001)));
    }

    #[test]
    fn slewed_clock_leaves_times_plausible() {
        let mut times = CreatedTimes::default().at(at(1001)).at(at(1000));
        assert!(times.is_plausible(at(1000)));
    }

    #[test]
    fn concurrent_responses_are_merged() {
        let kept = CreatedTimes::default().at(at(5000));
        let (one, other) = (kept.at(at(1000)), kept.at(at(2000)));
        let mut merged = one.merge(other).at(at(3000));
        assert!(!merged.is_plausible(at(1500)));
        assert!(merged.is_plausible(at(1000)));
    }
}
