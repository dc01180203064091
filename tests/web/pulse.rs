//! A server tells from inside whether it accepts connections.

use std::time::Duration;

use tokio::time::timeout;
use unit_exporter::http::{Options, Pulse};

use crate::site::{Script, Server};

#[tokio::test]
async fn a_server_has_a_pulse_until_it_stops() {
    assert!(!Pulse::default().beats().await, "there is none before anybody listens");
    let mut server = Server::start(Script::default(), Options::default());
    let pulse = server.options.pulse.clone();
    tokio::task::yield_now().await;
    for _ in 0..3 {
        assert!(pulse.beats().await);
    }
    // clients are not asked for anything, and answers not counted
    assert_eq!(server.options.requests.by_code().map(|(_, count)| count).sum::<u64>(), 0);
    server.stop();
    server.serving.await.unwrap();
    assert!(!pulse.beats().await);
}

#[tokio::test]
async fn a_server_that_is_stuck_has_none() {
    let server = Server::start(Script::default(), Options::default());
    let pulse = server.options.pulse.clone();
    tokio::task::yield_now().await;
    assert!(pulse.beats().await);
    // from here on nothing polls it, as if it held a lock or spun
    server.serving.abort();
    let beats = timeout(Duration::from_secs(1), pulse.beats()).await;
    assert_ne!(beats, Ok(true));
}
