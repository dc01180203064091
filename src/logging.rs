//! The log on stderr, written by a thread, with the keys of Prometheus's promslog.
//!
//! Logging never blocks: when stderr takes no more (a pipe that is not read, a journald that hangs),
//! lines are dropped and counted.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber, error};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Level {
    /// Details for debugging
    Debug,
    /// Normal changes
    Info,
    /// Data is stale or missing
    Warn,
    /// The process cannot continue
    Error,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// key=value pairs
    Logfmt,
    /// One JSON object per line
    Json,
}

/// Sets up the log. The guard waits, when dropped, until the lines have been written, at most 1 s.
pub fn init(level: Level, format: LogFormat) -> WorkerGuard {
    let level = match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    let (log, flush) = writer(io::stderr());
    // journald adds the time itself
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    let lines = LineFormat { format, time: !in_journal || format == LogFormat::Json };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(log)
        .event_format(lines)
        .fmt_fields(lines)
        .init();
    // the default hook writes to stderr and can block
    std::panic::set_hook(Box::new(|panic| {
        error!(%panic, "panic (bug in unit-exporter); please report it at https://github.com/unit-exporter/unit-exporter/issues");
    }));
    flush
}

/// Writes `time`, `level` and `msg`, then the fields of the spans and of the event.
#[derive(Clone, Copy, Debug)]
struct LineFormat {
    format: LogFormat,
    time: bool,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut pairs = Pairs::new(self.format);
        event.record(&mut pairs);
        let mut start = Pairs::new(self.format);
        if self.time {
            start.quoted("time", &format!("{:.3}", jiff::Timestamp::now()));
        }
        start.quoted("level", event.metadata().level().as_str());
        start.quoted("msg", &pairs.message);
        let json = self.format == LogFormat::Json;
        // every pair begins with its separator
        line.write_str(if json { "{" } else { "" })?;
        line.write_str(&start.text[1..])?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                line.write_str(fields)?;
            }
        }
        line.write_str(&pairs.text)?;
        line.write_str(if json { "}\n" } else { "\n" })
    }
}

impl<'writer> FormatFields<'writer> for LineFormat {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut pairs = Pairs::new(self.format);
        fields.record(&mut pairs);
        writer.write_str(&pairs.text)
    }
}

/// Fields as text, each after a separator; the message apart.
struct Pairs {
    format: LogFormat,
    text: String,
    message: String,
}

impl Pairs {
    fn new(format: LogFormat) -> Self {
        Self { format, text: String::new(), message: String::new() }
    }

    fn key(&mut self, key: &str) {
        // writing to a string cannot fail
        let _ = match self.format {
            LogFormat::Logfmt => write!(self.text, " {key}="),
            LogFormat::Json => write!(self.text, ",\"{key}\":"),
        };
    }

    fn plain(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        let _ = write!(self.text, "{value}");
    }

    fn quoted(&mut self, key: &str, value: &str) {
        let special = |c: char| c.is_whitespace() || c.is_control() || "=\"".contains(c);
        let is_bare = !value.is_empty() && !value.contains(special);
        if self.format == LogFormat::Logfmt && is_bare {
            return self.plain(key, value);
        }
        self.key(key);
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\t' => self.text.push_str("\\t"),
                // all control characters are below U+10000
                c if c.is_control() => drop(write!(self.text, "\\u{:04x}", u32::from(c))),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

impl Visit for Pairs {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.quoted(name, value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field.name(), value);
    }
}

/// The number of lines that were dropped since the process started.
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

fn writer(out: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let (log, flush) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_BUFFERED_LINES)
        .thread_name("log")
        .finish(out);
    let _ = DROPPED.set(log.error_counter());
    (log, flush)
}

/// A process has one log.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Bursts are longer than a pipe's buffer, and short.
const MAX_BUFFERED_LINES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A writer that blocks while its buffer is locked.
    #[derive(Clone, Default)]
    struct Blockable(Arc<Mutex<Vec<u8>>>);

    impl Write for Blockable {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_have_the_keys_of_promslog() {
        for (format, time, expected) in [
            (
                LogFormat::Logfmt,
                false,
                "level=WARN msg=\"failed to read\" user=app path=/a\\x2d \
                 error=\"a \\\"b\\\"\\n\\u001b\" empty=\"\" count=3 good=true\n",
            ),
            (
                LogFormat::Json,
                false,
                "{\"level\":\"WARN\",\"msg\":\"failed to read\",\"user\":\"app\",\
                 \"path\":\"/a\\\\x2d\",\"error\":\"a \\\"b\\\"\\n\\u001b\",\"empty\":\"\",\
                 \"count\":3,\"good\":true}\n",
            ),
            (LogFormat::Logfmt, true, "time=2"),
            (LogFormat::Json, true, "{\"time\":\"2"),
        ] {
            let output = Blockable::default();
            let (writer, lines) = (output.clone(), LineFormat { format, time });
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || writer.clone())
                .event_format(lines)
                .fmt_fields(lines)
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                let _span = tracing::info_span!("user", user = "app").entered();
                let error = "a \"b\"\n\x1b";
                let path = "/a\\x2d";
                tracing::warn!(path, %error, empty = "", count = 3, good = true, "failed to read");
            });
            let line = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
            match time {
                true => assert!(line.starts_with(expected), "{line}"),
                false => assert_eq!(line, expected),
            }
            if format == LogFormat::Json {
                assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn full_log_drops_and_counts_lines_and_keeps_order() {
        let output = Blockable::default();
        let (mut log, flush) = writer(output.clone());
        let blocked = output.0.lock().unwrap();
        let lines: Vec<String> =
            (0..MAX_BUFFERED_LINES + 100).map(|number| format!("{number}\n")).collect();
        for line in &lines {
            log.write_all(line.as_bytes()).unwrap();
        }
        // the writer thread holds one line
        let dropped = usize::try_from(dropped_lines()).unwrap();
        assert!((99..=100).contains(&dropped), "{dropped}");
        drop(blocked);
        drop(flush);
        let written = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert!(written == lines[..lines.len() - dropped].concat(), "{written}");
    }
}
