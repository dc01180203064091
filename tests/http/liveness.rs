//! The liveness check of the accept loops.

use std::time::Duration;

use tokio::time::timeout;
use unit_exporter::http::{Options, Pulse};

use crate::scripted_server::{Script, Server};

#[tokio::test]
async fn liveness_check_passes_until_shutdown() {
    assert!(!Pulse::default().beats().await, "no server listens yet");
    let mut server = Server::start(Script::default(), Options::default());
    let pulse = server.options.pulse.clone();
    tokio::task::yield_now().await;
    for _ in 0..3 {
        assert!(pulse.beats().await);
    }
    // the check is not an HTTP request: no response is counted
    assert_eq!(server.options.requests.by_code().map(|(_, count)| count).sum::<u64>(), 0);
    server.stop();
    server.task.await.unwrap();
    assert!(!pulse.beats().await);
}

#[tokio::test]
async fn liveness_check_fails_when_server_is_stuck() {
    let server = Server::start(Script::default(), Options::default());
    let pulse = server.options.pulse.clone();
    tokio::task::yield_now().await;
    assert!(pulse.beats().await);
    // the server is no longer polled, as in a deadlock or a busy loop
    server.task.abort();
    let beats = timeout(Duration::from_secs(1), pulse.beats()).await;
    assert_ne!(beats, Ok(true));
}
