//! The calls under way: few at once, each with the time it was made.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::warn;
use zbus::Connection;
use zbus::message::Message;
use zbus::names::OwnedUniqueName;

use crate::systemd::dbus::{Call, Error};

/// Calls waiting to be made, and calls waiting for their answers.
pub(super) struct Window {
    to: OwnedUniqueName,
    outbox: mpsc::Sender<Message>,
    todo: VecDeque<Call>,
    waiting: HashMap<NonZeroU32, (Call, Instant)>,
    late: bool,
}

impl Window {
    /// Opens a window to `to`, with a task that sends: a full socket never holds up the reader.
    pub(super) fn open(connection: Connection, to: OwnedUniqueName) -> Self {
        let (window, mut messages) = Self::new(to);
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                if let Err(error) = connection.send(&message).await {
                    // the stream of messages ends for the same reason, and says so
                    warn!(%error, "sending to the bus failed");
                    break;
                }
            }
        });
        window
    }

    /// A window to `to`, and what it gives to send.
    pub(super) fn new(to: OwnedUniqueName) -> (Self, mpsc::Receiver<Message>) {
        let (outbox, messages) = mpsc::channel(WIDTH);
        let (todo, waiting) = (VecDeque::new(), HashMap::new());
        (Self { to, outbox, todo, waiting, late: false }, messages)
    }

    /// Makes a call as soon as there is room.
    pub(super) fn call(&mut self, call: Call) {
        self.todo.push_back(call);
    }

    /// How many calls could be made at once.
    pub(super) fn room(&self) -> usize {
        WIDTH.saturating_sub(self.waiting.len() + self.todo.len())
    }

    /// Makes the calls that there is room for; hands each to `made`.
    pub(super) fn pump(&mut self, mut made: impl FnMut(&Call)) {
        while self.waiting.len() < WIDTH
            && let Some(call) = self.todo.pop_front()
        {
            let message = match call.message(&self.to) {
                Ok(message) => message,
                Err(error) => {
                    warn!(%error, ?call, "a call could not be put into words");
                    continue;
                }
            };
            let serial = message.primary_header().serial_num();
            if self.outbox.try_send(message).is_err() {
                // the sender is behind: the next answer makes room
                self.todo.push_front(call);
                break;
            }
            made(&call);
            self.waiting.insert(serial, (call, Instant::now()));
        }
    }

    /// The call that an answer belongs to.
    pub(super) fn answered(&mut self, serial: NonZeroU32) -> Option<Call> {
        let (call, _) = self.waiting.remove(&serial)?;
        Some(call)
    }

    /// Says once when an answer is late, and gives up after a while.
    pub(super) fn check(&mut self, now: Instant) -> Result<Option<Duration>, Error> {
        let oldest = self.waiting.values().map(|(_, since)| now.duration_since(*since)).max();
        match oldest {
            Some(age) if age > GIVE_UP => Err(Error::Silent(GIVE_UP)),
            Some(age) if age >= LATE => {
                let first = !self.late;
                self.late = true;
                Ok(first.then_some(age))
            }
            _ => {
                self.late = false;
                Ok(None)
            }
        }
    }

    /// Whether no answer is awaited.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.todo.is_empty()
    }

    /// Whether an answer is late.
    pub(super) fn is_late(&self) -> bool {
        self.late
    }
}

/// Calls in flight. dbus-daemon refuses more than its limit of pending replies a connection
/// (128 in old versions), and PID 1 should have time for others between two of ours.
const WIDTH: usize = 16;

/// An answer that takes longer is a fault worth telling.
const LATE: Duration = Duration::from_secs(10);

/// A frozen PID 1 may thaw, and what it then sends is in order: the connection is kept for so long.
const GIVE_UP: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (Window, mpsc::Receiver<Message>) {
        Window::new(":1.1".try_into().unwrap())
    }

    fn made(window: &mut Window) -> usize {
        let mut made = 0;
        window.pump(|_| made += 1);
        made
    }

    fn serial(message: &Message) -> NonZeroU32 {
        message.primary_header().serial_num()
    }

    #[test]
    fn few_calls_are_under_way_at_once() {
        let (mut window, mut sent) = open();
        assert!(window.is_idle());
        assert_eq!(window.room(), WIDTH);
        (0..WIDTH).for_each(|_| window.call(Call::List));
        assert!(!window.is_idle());
        assert_eq!(window.room(), 0);
        window.call(Call::Subscribe);
        assert_eq!(made(&mut window), WIDTH);
        let serials: Vec<_> =
            std::iter::from_fn(|| sent.try_recv().ok().as_ref().map(serial)).collect();
        assert_eq!((made(&mut window), window.room()), (0, 0));
        assert!(matches!(window.answered(serials[0]), Some(Call::List)));
        assert!(window.answered(serials[0]).is_none());
        assert_eq!([made(&mut window), made(&mut window)], [1, 0]);
        let last = serial(&sent.try_recv().unwrap());
        assert!(serials[1..].iter().all(|serial| window.answered(*serial).is_some()));
        assert!(!window.is_idle());
        assert!(matches!(window.answered(last), Some(Call::Subscribe)));
        assert!(window.is_idle());
    }

    #[test]
    fn what_cannot_be_sent_yet_keeps_its_turn() {
        let (mut window, mut sent) = open();
        (0..WIDTH).for_each(|_| window.call(Call::List));
        made(&mut window);
        window.waiting.clear();
        window.call(Call::Subscribe);
        window.call(Call::ListJobs);
        assert_eq!(made(&mut window), 0);
        assert_eq!(window.room(), WIDTH - 2);
        while sent.try_recv().is_ok() {}
        assert_eq!(made(&mut window), 2);
        let first = sent.try_recv().unwrap();
        assert!(matches!(window.answered(serial(&first)), Some(Call::Subscribe)));
    }

    #[test]
    fn a_late_answer_is_told_once_and_at_last_given_up() {
        let (mut window, mut sent) = open();
        let now = Instant::now();
        assert!(matches!(window.check(now), Ok(None)));
        window.call(Call::List);
        made(&mut window);
        let message = sent.try_recv().unwrap();
        let since = window.waiting[&serial(&message)].1;
        let moment = Duration::from_millis(1);
        assert!(matches!(window.check(since + LATE - moment), Ok(None)) && !window.is_late());
        let told = window.check(since + LATE);
        assert!(matches!(told, Ok(Some(LATE))) && window.is_late());
        assert!(matches!(window.check(since + GIVE_UP), Ok(None)) && window.is_late());
        assert!(matches!(window.check(since + GIVE_UP + moment), Err(Error::Silent(GIVE_UP))));
        window.answered(serial(&message));
        assert!(matches!(window.check(since + GIVE_UP), Ok(None)) && !window.is_late());
    }
}
