//! The calls to PID 1: few in flight at once, each with its timeout.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::warn;
use zbus::Connection;
use zbus::message::Message;
use zbus::names::OwnedUniqueName;

use crate::clock;
use crate::systemd::dbus::{Call, FollowError};

/// Calls to be sent, and calls whose replies are awaited.
pub(super) struct CallQueue {
    destination: OwnedUniqueName,
    outbox: mpsc::Sender<Message>,
    queued: VecDeque<Call>,
    in_flight: HashMap<NonZeroU32, (Call, Instant)>,
    is_reply_late: bool,
}

impl CallQueue {
    /// Opens a queue to `destination`, with a task that sends: a full socket never blocks the
    /// reader.
    pub(super) fn open(connection: Connection, destination: OwnedUniqueName) -> Self {
        let (queue, mut messages) = Self::new(destination);
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                if let Err(error) = connection.send(&message).await {
                    // the stream of messages ends for the same reason, and returns the error
                    warn!(%error, "failed to send D-Bus message");
                    break;
                }
            }
        });
        queue
    }

    /// A queue to `destination`, and the messages to send.
    pub(super) fn new(destination: OwnedUniqueName) -> (Self, mpsc::Receiver<Message>) {
        let (outbox, messages) = mpsc::channel(MAX_IN_FLIGHT);
        let (queued, in_flight) = (VecDeque::new(), HashMap::new());
        (Self { destination, outbox, queued, in_flight, is_reply_late: false }, messages)
    }

    /// The unique name of PID 1 on the bus.
    pub(super) fn destination(&self) -> &str {
        self.destination.as_str()
    }

    /// Adds a call, to be sent as soon as there is room.
    pub(super) fn add(&mut self, call: Call) {
        self.queued.push_back(call);
    }

    /// How many more calls could be sent at once.
    pub(super) fn room(&self) -> usize {
        MAX_IN_FLIGHT.saturating_sub(self.in_flight.len() + self.queued.len())
    }

    /// Sends the calls that there is room for; passes each to `sent`.
    pub(super) fn send(&mut self, mut sent: impl FnMut(&Call)) {
        while self.in_flight.len() < MAX_IN_FLIGHT
            && let Some(call) = self.queued.pop_front()
        {
            let message = match call.message(&self.destination) {
                Ok(message) => message,
                Err(error) => {
                    warn!(%error, ?call, "failed to encode D-Bus method call");
                    continue;
                }
            };
            let serial = message.primary_header().serial_num();
            if self.outbox.try_send(message).is_err() {
                // the sending task is behind: the next reply makes room
                self.queued.push_front(call);
                break;
            }
            sent(&call);
            self.in_flight.insert(serial, (call, clock::instant()));
        }
    }

    /// Removes the call that a reply belongs to.
    pub(super) fn remove(&mut self, serial: NonZeroU32) -> Option<Call> {
        let (call, _) = self.in_flight.remove(&serial)?;
        Some(call)
    }

    /// Returns the age of a reply once, when it becomes late, and an error once it has timed out.
    pub(super) fn check_timeouts(&mut self, now: Instant) -> Result<Option<Duration>, FollowError> {
        let oldest = self.in_flight.values().map(|(_, since)| now.duration_since(*since)).max();
        match oldest {
            Some(age) if age > REPLY_TIMEOUT => Err(FollowError::NotResponding(REPLY_TIMEOUT)),
            Some(age) if age >= LATE_REPLY => {
                let first = !self.is_reply_late;
                self.is_reply_late = true;
                Ok(first.then_some(age))
            }
            _ => {
                self.is_reply_late = false;
                Ok(None)
            }
        }
    }

    /// Whether no call is queued and no reply awaited.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.queued.is_empty()
    }

    /// Whether a reply is late.
    pub(super) fn is_reply_late(&self) -> bool {
        self.is_reply_late
    }
}

/// dbus-daemon refuses more than its limit of pending replies per connection (128 in old versions),
/// and PID 1 should have time for other clients between two calls of ours.
const MAX_IN_FLIGHT: usize = 16;

/// A reply that takes longer is reported.
const LATE_REPLY: Duration = Duration::from_secs(10);

/// A frozen PID 1 may thaw, and its messages are then in order: the connection is kept for this
/// time.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (CallQueue, mpsc::Receiver<Message>) {
        CallQueue::new(":1.1".try_into().unwrap())
    }

    fn sent_now(queue: &mut CallQueue) -> usize {
        let mut sent_now = 0;
        queue.send(|_| sent_now += 1);
        sent_now
    }

    fn serial(message: &Message) -> NonZeroU32 {
        message.primary_header().serial_num()
    }

    #[test]
    fn limits_calls_in_flight() {
        let (mut queue, mut sent) = open();
        assert!(queue.is_idle());
        assert_eq!(queue.room(), MAX_IN_FLIGHT);
        (0..MAX_IN_FLIGHT).for_each(|_| queue.add(Call::List));
        assert!(!queue.is_idle());
        assert_eq!(queue.room(), 0);
        queue.add(Call::Subscribe);
        assert_eq!(sent_now(&mut queue), MAX_IN_FLIGHT);
        let serials: Vec<_> =
            std::iter::from_fn(|| sent.try_recv().ok().as_ref().map(serial)).collect();
        assert_eq!((sent_now(&mut queue), queue.room()), (0, 0));
        assert!(matches!(queue.remove(serials[0]), Some(Call::List)));
        assert!(queue.remove(serials[0]).is_none());
        assert_eq!([sent_now(&mut queue), sent_now(&mut queue)], [1, 0]);
        let last = serial(&sent.try_recv().unwrap());
        assert!(serials[1..].iter().all(|serial| queue.remove(*serial).is_some()));
        assert!(!queue.is_idle());
        assert!(matches!(queue.remove(last), Some(Call::Subscribe)));
        assert!(queue.is_idle());
    }

    #[test]
    fn unsent_call_stays_first_in_queue() {
        let (mut queue, mut sent) = open();
        (0..MAX_IN_FLIGHT).for_each(|_| queue.add(Call::List));
        sent_now(&mut queue);
        queue.in_flight.clear();
        queue.add(Call::Subscribe);
        queue.add(Call::ListJobs);
        assert_eq!(sent_now(&mut queue), 0);
        assert_eq!(queue.room(), MAX_IN_FLIGHT - 2);
        while sent.try_recv().is_ok() {}
        assert_eq!(sent_now(&mut queue), 2);
        let first = sent.try_recv().unwrap();
        assert!(matches!(queue.remove(serial(&first)), Some(Call::Subscribe)));
    }

    #[test]
    fn late_reply_is_reported_once_then_times_out() {
        let (mut queue, mut sent) = open();
        let now = Instant::now();
        assert!(matches!(queue.check_timeouts(now), Ok(None)));
        queue.add(Call::List);
        sent_now(&mut queue);
        let message = sent.try_recv().unwrap();
        let since = queue.in_flight[&serial(&message)].1;
        let moment = Duration::from_millis(1);
        assert!(
            matches!(queue.check_timeouts(since + LATE_REPLY - moment), Ok(None))
                && !queue.is_reply_late()
        );
        let first = queue.check_timeouts(since + LATE_REPLY);
        assert!(matches!(first, Ok(Some(LATE_REPLY))) && queue.is_reply_late());
        assert!(
            matches!(queue.check_timeouts(since + REPLY_TIMEOUT), Ok(None))
                && queue.is_reply_late()
        );
        assert!(matches!(
            queue.check_timeouts(since + REPLY_TIMEOUT + moment),
            Err(FollowError::NotResponding(REPLY_TIMEOUT))
        ));
        queue.remove(serial(&message));
        assert!(
            matches!(queue.check_timeouts(since + REPLY_TIMEOUT), Ok(None))
                && !queue.is_reply_late()
        );
    }
}
