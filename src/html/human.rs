//! Amounts and times as people read them.

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime};

use super::writer::Html;

/// Bytes in binary units: `512 B`, `1.5 KiB`, `123 MiB`.
pub(super) struct Bytes(pub(super) u64);

/// A duration in its two largest units: `350 µs`, `1.5 s`, `3 min 5 s`, `2 d 4 h`.
pub(super) struct Lasting(pub(super) Duration);

/// A share of one processor: `0.3 %`, `12 %`, `230 %`.
pub(super) struct Percent(pub(super) f64);

/// A whole number with its thousands set apart: `5,000`.
pub(super) struct Count(pub(super) u64);

/// `one unit`, `5,000 units`.
pub(super) fn units(count: usize, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{} {word}", Count(count as u64))
}

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut amount = float(self.0) / 1024.0;
        let mut unit = 0;
        // what would be rounded to 1024 of a unit is 1 of the next
        while amount >= 1023.5 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(amount < 9.95);
        write!(f, "{amount:.digits$} {}", UNITS[unit])
    }
}

impl Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 if self.0.is_zero() => f.write_str("0 s"),
            0 if self.0.as_micros() < 1000 => write!(f, "{} µs", self.0.as_micros()),
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..10 => write!(f, "{}.{} s", seconds, self.0.subsec_millis() / 100),
            10..60 => write!(f, "{seconds} s"),
            60..3600 => two(f, seconds / 60, "min", seconds % 60, "s"),
            3600..DAY => two(f, seconds / 3600, "h", seconds % 3600 / 60, "min"),
            _ => two(f, seconds / DAY, "d", seconds % DAY / 3600, "h"),
        }
    }
}

fn two(f: &mut fmt::Formatter<'_>, large: u64, one: &str, small: u64, other: &str) -> fmt::Result {
    write!(f, "{} {one}", Count(large))?;
    if small > 0 && large < 100 { write!(f, " {small} {other}") } else { Ok(()) }
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

impl Display for Count {
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

/// A point in time on the wall clock, in UTC: `2026-11-25 08:40:36 UTC`.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub(super) SystemTime);

impl Moment {
    /// As the attribute `datetime` wants it.
    fn machine(self) -> impl Display {
        let (date, time) = self.parts();
        format!("{date}T{time}Z")
    }

    fn parts(self) -> (String, String) {
        let seconds = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let (year, month, day) = civil(seconds / DAY);
        let clock = seconds % DAY;
        (
            format!("{year:04}-{month:02}-{day:02}"),
            format!("{:02}:{:02}:{:02}", clock / 3600, clock % 3600 / 60, clock % 60),
        )
    }

    /// How far from now it is: `3 h ago`, `in 5 min`; one unit is enough.
    pub(super) fn relative(self, now: SystemTime) -> String {
        match now.duration_since(self.0) {
            Ok(past) if past.as_secs() == 0 => "now".to_owned(),
            Ok(past) => format!("{} ago", roughly(past)),
            Err(error) if error.duration().as_secs() == 0 => "now".to_owned(),
            Err(error) => format!("in {}", roughly(error.duration())),
        }
    }

    /// The relative time, with the absolute one behind it.
    pub(super) fn ago(self, now: SystemTime, html: &mut Html) {
        html.put("<time datetime=\"").text(self.machine()).put("\" title=\"").text(self);
        html.put("\">").text(self.relative(now)).put("</time>");
    }

    /// Both side by side.
    pub(super) fn both(self, now: SystemTime, html: &mut Html) {
        html.put("<time datetime=\"").text(self.machine()).put("\">").text(self);
        html.put("</time> <span class=dim>(").text(self.relative(now)).put(")</span>");
    }
}

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = self.parts();
        write!(f, "{date} {time} UTC")
    }
}

fn roughly(lasting: Duration) -> String {
    let seconds = lasting.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..DAY => format!("{} h", seconds / 3600),
        _ => format!("{} d", Count(seconds / DAY)),
    }
}

/// Year, month and day of a day since 1970-01-01, by the proleptic Gregorian calendar.
fn civil(day: u64) -> (u64, u64, u64) {
    // years that begin in March, so that the leap day comes last
    let day = day + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, date)
}

#[expect(clippy::cast_precision_loss, reason = "nobody reads more than three digits")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_few_digits_and_their_unit() {
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
            assert_eq!(Bytes(bytes).to_string(), text);
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
            assert_eq!(Lasting(Duration::from_micros(micros)).to_string(), text);
        }
        for (share, text) in [(0.0, "0 %"), (0.0004, "<0.1 %"), (0.003, "0.3 %"), (2.3, "230 %")] {
            assert_eq!(Percent(share).to_string(), text);
        }
        assert_eq!(Count(1_234_567).to_string(), "1,234,567");
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(units(1, "unit", "units"), "1 unit");
    }

    #[test]
    fn moments_are_told_in_utc_and_from_now() {
        let at = |seconds| Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
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
