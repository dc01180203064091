//! Stopping answers what is in flight and nothing else.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use unit_exporter::http::{Limits, Options};

use crate::client::{get, head, parse};
use crate::site::{PAGE, Script, Server, large_page};

#[tokio::test]
async fn the_scrape_in_flight_is_answered_and_idle_connections_are_closed() {
    let script = Script { page: PAGE.into(), takes: Duration::from_secs(2), ..Script::default() };
    let mut server = Server::start(script, Options::default());
    let address = server.address;
    let mut fresh = TcpStream::connect(address).await.unwrap();
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(head("GET", "/", &[]).as_bytes()).await.unwrap();
    let mut buffer = [0; 4096];
    let read = kept.read(&mut buffer).await.unwrap();
    assert_eq!(parse(&buffer[..read]).status, 200);
    let scrape = tokio::spawn(async move { get(address, "/metrics").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    server.stop();
    assert_eq!(kept.read(&mut buffer).await.unwrap(), 0);
    assert!(!scrape.is_finished(), "closed at once: {:?}", start.elapsed());
    assert_eq!(scrape.await.unwrap().status, 200);
    assert_eq!(fresh.read(&mut buffer).await.unwrap(), 0);
    server.serving.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(TcpStream::connect(address).await.is_err(), "no longer listening");
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_the_end_by_no_more_than_the_limit() {
    let limits = Limits { shutdown: Duration::from_secs(1), ..Limits::default() };
    let script = Script { page: large_page(), ..Script::default() };
    let mut server = Server::start(script, Options { limits, ..Options::default() });
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head("GET", "/metrics", &[]).as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    let start = Instant::now();
    server.stop();
    server.serving.await.unwrap();
    let took = start.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");
}
