//! The log on stderr, written by a thread.
//!
//! Logging never blocks: when stderr takes no more (a pipe that is not read, a journald that hangs),
//! lines are dropped and counted.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Level {
    /// Details for debugging.
    Debug,
    /// Normal changes.
    Info,
    /// Data is stale or missing.
    Warn,
    /// The process cannot continue.
    Error,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
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
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(log.clone());
    match format {
        LogFormat::Json => lines.json().with_target(false).init(),
        LogFormat::Logfmt => {
            // journald adds the time itself
            let timestamps =
                std::env::var_os("JOURNAL_STREAM").is_none() || io::stderr().is_terminal();
            tracing_logfmt::builder()
                .with_target(false)
                .with_timestamp(timestamps)
                .subscriber_builder()
                .with_max_level(level)
                .with_writer(log)
                .init();
        }
    }
    // the default hook writes to stderr and can block
    std::panic::set_hook(Box::new(|panic| {
        error!(%panic, "panic (bug in unit-exporter); please report it at https://github.com/unit-exporter/unit-exporter/issues");
    }));
    flush
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
