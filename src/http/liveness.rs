//! Whether the server still accepts connections, as asked from inside.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

/// Feels whether every listener of a server is being served.
///
/// It does not connect: the filters on addresses that a unit may have (`IPAddressDeny=`,
/// `RestrictAddressFamilies=`) can keep a server from its own port.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Vec<mpsc::Sender<Question>>>>);

/// Answered by whoever accepts connections: whether it can.
pub(super) type Question = oneshot::Sender<bool>;

impl Pulse {
    /// Whether there are listeners and all of them accept connections. It waits for those that do
    /// not answer.
    pub async fn beats(&self) -> bool {
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in &listeners {
            let (question, answer) = oneshot::channel();
            if listener.send(question).await.is_err() || !answer.await.unwrap_or(false) {
                return false;
            }
        }
        !listeners.is_empty()
    }

    /// The questions to one more listener.
    pub(super) fn join(&self) -> mpsc::Receiver<Question> {
        let (ask, questions) = mpsc::channel(1);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ask);
        questions
    }
}
