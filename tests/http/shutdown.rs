//! Graceful shutdown: requests in flight are answered, other connections are closed.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use unit_exporter::http::{Limits, ServerOptions};

use crate::client::{get, head, parse};
use crate::scripted_server::{PAGE, Script, Server, large_page};

#[tokio::test]
async fn shutdown_answers_scrape_in_flight_and_closes_idle() {
    let script = Script { page: PAGE.into(), delay: Duration::from_secs(2), ..Script::default() };
    let mut server = Server::start(script, ServerOptions::default());
    let address = server.address;
    let mut unused = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(head("GET", "/", &[]).as_bytes()).await.unwrap();
    let mut buffer = [0; 4096];
    let read = idle.read(&mut buffer).await.unwrap();
    assert_eq!(parse(&buffer[..read]).status, 200);
    let scrape = tokio::spawn(async move { get(address, "/metrics").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    server.stop();
    assert_eq!(idle.read(&mut buffer).await.unwrap(), 0);
    assert!(!scrape.is_finished(), "idle connections waited for the scrape: {:?}", start.elapsed());
    assert_eq!(scrape.await.unwrap().status, 200);
    assert_eq!(unused.read(&mut buffer).await.unwrap(), 0);
    server.task.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(TcpStream::connect(address).await.is_err(), "still listening");
}

#[tokio::test]
async fn shutdown_waits_for_unread_response_up_to_timeout() {
    let limits = Limits { shutdown: Duration::from_secs(1), ..Limits::default() };
    let script = Script { page: large_page(), ..Script::default() };
    let mut server = Server::start(script, ServerOptions { limits, ..ServerOptions::default() });
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head("GET", "/metrics", &[]).as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    let start = Instant::now();
    server.stop();
    server.task.await.unwrap();
    let took = start.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");
}
