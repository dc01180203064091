//! The log on standard error, written by a thread of its own: nothing waits for whoever reads it.
//!
//! A pipe that nobody reads, or a journald that hangs, takes nothing more at some time. Then lines
//! are dropped and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Where lines are handed in; all copies lead to the same place.
#[derive(Clone, Debug)]
pub struct Log(SyncSender<Message>);

/// Waits, when dropped, until what was logged has been written, but not for long: for the end of
/// the program.
#[derive(Debug)]
pub struct Flush(Log);

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Tells who waits for it by hanging up.
    Mark {
        _caller: SyncSender<()>,
    },
}

impl Log {
    /// A log that goes to `out`.
    ///
    /// # Errors
    /// What the kernel says when it starts no thread.
    pub fn to(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, messages) = sync_channel(LINES);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for message in messages {
                if let Message::Line(line) = message {
                    // nowhere is left to complain
                    let _ = out.write_all(&line);
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Has what is logged written before the program ends.
    #[must_use]
    pub fn flush_at_end(&self) -> Flush {
        Flush(self.clone())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Log {
    /// Takes a whole line, as the formatters hand it over, or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Message::Line(line.to_vec())).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (caller, written) = sync_channel(1);
        let end = Instant::now() + FLUSH;
        let mut mark = Message::Mark { _caller: caller };
        while let Err(TrySendError::Full(back)) = self.0.0.try_send(mark) {
            mark = back;
            if Instant::now() > end {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // the thread hangs up once it has come so far
        let _ = written.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// How many lines nobody took since the program began.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// A program has one standard error.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that wait to be written: bursts are longer than a pipe, and short.
const LINES: usize = 1024;

/// How long the end of the program waits for the last lines.
const FLUSH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes what is written only while it is not locked.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_beyond_what_waits_are_dropped_and_counted_and_the_rest_is_written_in_order() {
        let reader = Reader::default();
        let log = Log::to(reader.clone()).unwrap();
        let before = dropped();
        let stuck = reader.0.lock().unwrap();
        let lines: Vec<String> = (0..LINES + 100).map(|number| format!("{number}\n")).collect();
        for line in &lines {
            log.make_writer().write_all(line.as_bytes()).unwrap();
        }
        // one is in the writer's hands
        let lost = usize::try_from(dropped() - before).unwrap();
        assert!((99..=100).contains(&lost), "{lost}");
        // waits no longer than it may
        drop(log.flush_at_end());
        drop(stuck);
        drop(log.flush_at_end());
        log.make_writer().write_all(b"last\n").unwrap();
        drop(log.flush_at_end());
        let written = String::from_utf8(reader.0.lock().unwrap().clone()).unwrap();
        assert!(written == lines[..lines.len() - lost].concat() + "last\n", "{written}");
    }
}
