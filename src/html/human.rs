//! Amounts and times in a form for people.

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::writer::Html;

/// Bytes in binary units: `512 B`, `1.5 KiB`, `123 MiB`.
pub(super) struct HumanBytes(pub(super) u64);

/// A duration in its two largest units: `350 µs`, `1.5 s`, `3 min 5 s`, `2 d 4 h`.
pub(super) struct HumanDuration(pub(super) Duration);

/// A ratio in percent: `0.3 %`, `12 %`, `230 %`.
pub(super) struct Percent(pub(super) f64);

/// A whole number with thousands separators: `5,000`.
pub(super) struct HumanCount(pub(super) u64);

/// `1 unit`, `5,000 units`.
pub(super) fn pluralize(count: u64, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{} {noun}", HumanCount(count))
}

impl Display for HumanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut amount = float(self.0) / 1024.0;
        let mut unit = 0;
        // 1023.5 would be rounded to 1024 of the unit, which is 1 of the next
        while amount >= 1023.5 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(amount < 9.95);
        write!(f, "{amount:.digits$} {}", UNITS[unit])
    }
}

impl Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 if self.0.is_zero() => f.write_str("0 s"),
            0 if self.0.as_micros() < 1000 => write!(f, "{} µs", self.0.as_micros()),
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..10 => write!(f, "{}.{} s", seconds, self.0.subsec_millis() / 100),
            10..60 => write!(f, "{seconds} s"),
            60..3600 => two_units(f, seconds / 60, "min", seconds % 60, "s"),
            3600..DAY => two_units(f, seconds / 3600, "h", seconds % 3600 / 60, "min"),
            _ => two_units(f, seconds / DAY, "d", seconds % DAY / 3600, "h"),
        }
    }
}

/// The smaller unit is omitted if it is 0, and beside a count of 100 or more.
fn two_units(
    f: &mut fmt::Formatter<'_>,
    large: u64,
    large_unit: &str,
    small: u64,
    small_unit: &str,
) -> fmt::Result {
    write!(f, "{} {large_unit}", HumanCount(large))?;
    if small > 0 && large < 100 { write!(f, " {small} {small_unit}") } else { Ok(()) }
}

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        match percent {
            0.0 => f.write_str("0 %"),
            ..0.1 => f.write_str("<0.1 %"),
            ..9.95 => write!(f, "{percent:.1} %"),
            _ => write!(f, "{percent:.0} %"),
        }
    }
}

impl Display for HumanCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A point in time in UTC: `2026-11-25 08:40:36 UTC`.
#[derive(Clone, Copy)]
pub(super) struct HumanTime(pub(super) SystemTime);

impl HumanTime {
    /// The value of the attribute `datetime`.
    fn datetime(self) -> impl Display {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ")
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::try_from(self.0).unwrap_or(Timestamp::MAX)
    }

    /// The distance from now: `3 h ago`, `in 5 min`.
    pub(super) fn relative(self, now: SystemTime) -> String {
        match now.duration_since(self.0) {
            Ok(past) if past.as_secs() == 0 => "now".to_owned(),
            Ok(past) => format!("{} ago", rounded(past)),
            Err(error) if error.duration().as_secs() == 0 => "now".to_owned(),
            Err(error) => format!("in {}", rounded(error.duration())),
        }
    }

    /// Writes the relative time, with the absolute time as a tooltip.
    pub(super) fn write_relative(self, now: SystemTime, html: &mut Html) {
        html.put("<time datetime=\"").text(self.datetime()).put("\" title=\"").text(self);
        html.put("\">").text(self.relative(now)).put("</time>");
    }

    /// Writes the absolute time, and the relative time in parentheses.
    pub(super) fn write(self, now: SystemTime, html: &mut Html) {
        html.put("<time datetime=\"").text(self.datetime()).put("\">").text(self);
        html.put("</time> <span class=dim>(").text(self.relative(now)).put(")</span>");
    }
}

impl Display for HumanTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().strftime("%Y-%m-%d %H:%M:%S UTC").fmt(f)
    }
}

/// A duration in its largest unit.
fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..DAY => format!("{} h", seconds / 3600),
        _ => format!("{} d", HumanCount(seconds / DAY)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most three digits are shown")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// Seconds.
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_a_unit_and_few_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_188, "9.9 KiB"),
            (10_189, "10 KiB"),
            (123 << 20, "123 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(HumanBytes(bytes).to_string(), text);
        }
        for (micros, text) in [
            (0, "0 s"),
            (350, "350 µs"),
            (12_000, "12 ms"),
            (1_560_000, "1.5 s"),
            (59_900_000, "59 s"),
            (185_000_000, "3 min 5 s"),
            (7_200_000_000, "2 h"),
            (187_200_000_000, "2 d 4 h"),
            (400 * 86_400_000_000, "400 d"),
        ] {
            assert_eq!(HumanDuration(Duration::from_micros(micros)).to_string(), text);
        }
        for (share, text) in [(0.0, "0 %"), (0.0004, "<0.1 %"), (0.003, "0.3 %"), (2.3, "230 %")] {
            assert_eq!(Percent(share).to_string(), text);
        }
        assert_eq!(HumanCount(1_234_567).to_string(), "1,234,567");
        assert_eq!(HumanCount(999).to_string(), "999");
        assert_eq!(pluralize(1, "unit", "units"), "1 unit");
    }

    #[test]
    fn times_are_shown_in_utc_and_relative_to_now() {
        let at = |seconds| HumanTime(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_827_696, "2000-02-29 12:34:56 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (1_795_596_036, "2026-11-25 08:40:36 UTC"),
        ] {
            assert_eq!(at(seconds).to_string(), text);
        }
        let now = at(100_000).0;
        for (seconds, text) in
            [(100_000, "now"), (99_990, "10 s ago"), (89_000, "3 h ago"), (100_300, "in 5 min")]
        {
            assert_eq!(at(seconds).relative(now), text);
        }
    }
}
