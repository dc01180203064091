//! The liveness check of the accept loops.

use std::time::Duration;

use tokio::time::timeout;
use unit_exporter::http::{Liveness, ServerOptions};

use crate::scripted_server::{Script, Server};

#[tokio::test]
async fn liveness_check_passes_until_shutdown() {
    assert!(!Liveness::default().check().await, "no server listens yet");
    let mut server = Server::start(Script::default(), ServerOptions::default());
    let liveness = server.options.liveness.clone();
    tokio::task::yield_now().await;
    for _ in 0..3 {
        assert!(liveness.check().await);
    }
    // the check is not an HTTP request: no response is counted
    assert_eq!(server.options.counts.by_code().map(|(_, count)| count).sum::<u64>(), 0);
    server.stop();
    server.task.await.unwrap();
    assert!(!liveness.check().await);
}

#[tokio::test]
async fn liveness_check_fails_when_server_is_stuck() {
    let server = Server::start(Script::default(), ServerOptions::default());
    let liveness = server.options.liveness.clone();
    tokio::task::yield_now().await;
    assert!(liveness.check().await);
    // the server is no longer polled, as in a deadlock or a busy loop
    server.task.abort();
    let alive = timeout(Duration::from_secs(1), liveness.check()).await;
    assert_ne!(alive, Ok(true));
}
