//! Limits against slow, numerous and hostile clients.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use unit_exporter::http::{Limits, ServerOptions};

use crate::client::{get, head, parse};
use crate::scripted_server::{PAGE, Script, Server, large_page};

fn options(limits: Limits) -> ServerOptions {
    ServerOptions { limits, ..ServerOptions::default() }
}

fn script() -> Script {
    Script { page: PAGE.into(), ..Script::default() }
}

#[tokio::test]
async fn half_open_connections_do_not_delay_scrapes_and_time_out() {
    let limits = Limits { head: Duration::from_secs(5), connections: 512, ..Limits::default() };
    let server = Server::start(script(), options(limits.clone()));
    let mut half_open = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if n % 3 > 0 {
            stream
                .write_all(&b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-"[..n % 34 + 1])
                .await
                .unwrap();
        }
        half_open.push(stream);
    }
    let start = Instant::now();
    assert_eq!(get(server.address, "/metrics").await.status, 200);
    let took = start.elapsed();
    println!("with 300 half-open connections a scrape took {took:?}");
    assert!(took < limits.head, "the scrape waited for the timeouts: {took:?}");
    for stream in &mut half_open {
        let closed =
            tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 512])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    }
    println!("all closed after {:?}", start.elapsed());
}

#[tokio::test]
async fn slow_request_head_does_not_extend_timeout() {
    let limits = Limits { head: Duration::from_millis(500), ..Limits::default() };
    let server = Server::start(script(), options(limits));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let start = Instant::now();
    while stream.write_all(b"G").await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "still open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn keep_alive_connection_stays_open_until_idle_timeout() {
    let limits = Limits {
        head: Duration::from_millis(200),
        idle: Duration::from_secs(3),
        ..Limits::default()
    };
    let server = Server::start(script(), options(limits));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut buffer = [0; 4096];
    for _ in 0..2 {
        stream.write_all(head("GET", "/metrics", &[]).as_bytes()).await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert_eq!(parse(&buffer[..read]).status, 200);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let closed = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await;
    assert_eq!(closed.expect("still open after the idle timeout").unwrap(), 0);
}

#[tokio::test]
async fn clients_that_never_read_are_disconnected() {
    let limits =
        Limits { response: Duration::from_secs(2), requests: Some(400), ..Limits::default() };
    let page = large_page();
    let server = Server::start(Script { page, ..Script::default() }, options(limits));
    let mut clients = Vec::new();
    for _ in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        stream.write_all(head("GET", "/metrics", &[]).as_bytes()).await.unwrap();
        clients.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    // a write to a closed connection fails: the server answers with a reset
    for stream in &mut clients {
        let mut reset = false;
        for _ in 0..1000 {
            if stream.write_all(b"x").await.is_err() {
                reset = true;
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(reset, "still connected");
    }
}

#[tokio::test]
async fn pending_responses_over_limit_get_503() {
    struct LargeResponses;
    impl unit_exporter::http::App for LargeResponses {
        async fn metrics(
            &self,
            _: unit_exporter::http::ScrapeRequest,
        ) -> Result<bytes::Bytes, unit_exporter::http::HttpError> {
            Ok(large_page())
        }
        async fn page(
            &self,
            _: &str,
            _: Vec<(String, String)>,
        ) -> Result<Option<unit_exporter::http::HtmlPage>, unit_exporter::http::HttpError> {
            Ok(None)
        }

        fn events(&self, _: &unit_exporter::http::EventsRequest) -> bytes::Bytes {
            large_page()
        }

        fn ready(&self) -> Result<(), String> {
            Ok(())
        }
    }
    for path in ["/metrics", "/api/v1/events"] {
        assert_eq!(
            statuses_of_unread(LargeResponses, path).await,
            ["200", "200", "503", "503", "503"]
        );
    }
}

/// The statuses of responses that the client does not read.
async fn statuses_of_unread(app: impl unit_exporter::http::App, path: &str) -> Vec<String> {
    let listeners = "127.0.0.1:0".parse::<unit_exporter::http::ListenAddress>().unwrap();
    let listeners = listeners.bind().unwrap();
    let address = listeners[0].address().unwrap();
    let min_idle = Duration::from_secs(60);
    let limits = Limits { unread_bytes: 66 << 20, min_idle, ..Limits::default() };
    tokio::spawn(unit_exporter::http::serve(
        listeners,
        app,
        options(limits),
        std::future::pending(),
    ));
    let mut statuses = Vec::new();
    let mut open = Vec::new();
    for _ in 0..5 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(head("GET", path, &[]).as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        statuses.push(String::from_utf8_lossy(&start[9..]).into_owned());
        open.push(stream);
    }
    statuses
}

#[tokio::test]
async fn scrapes_over_concurrency_limit_get_503() {
    let limits = Limits { requests: Some(4), ..Limits::default() };
    let script = Script { delay: Duration::from_millis(500), ..script() };
    let server = Server::start(script, options(limits));
    let mut scrapes = JoinSet::new();
    for _ in 0..20 {
        let address = server.address;
        scrapes.spawn(async move { get(address, "/metrics").await });
    }
    let responses = scrapes.join_all().await;
    let served = responses.iter().filter(|response| response.status == 200).count();
    let rejected = responses.iter().filter(|response| response.status == 503);
    assert_eq!(served + rejected.clone().count(), 20);
    // three quarters of the limit for a single address
    assert!(served >= 3, "{served}");
    assert!(rejected.clone().all(|response| response.header("retry-after") == "1"));
    assert!(server.script.max_in_flight.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn all_scrapes_are_served_without_concurrency_limit() {
    let limits = Limits { requests: None, ..Limits::default() };
    let script = Script { delay: Duration::from_millis(500), ..script() };
    let server = Server::start(script, options(limits));
    let mut scrapes = JoinSet::new();
    for _ in 0..60 {
        let address = server.address;
        scrapes.spawn(async move { get(address, "/metrics").await.status });
    }
    assert_eq!(scrapes.join_all().await, [200; 60]);
}

#[tokio::test]
async fn connections_over_share_of_peer_get_503_others_are_served() {
    let min_idle = Duration::from_secs(60);
    let limits = Limits { connections: 13, min_idle, ..Limits::default() };
    let server = Server::start(script(), options(limits));
    let mut connections = Vec::new();
    for _ in 0..10 {
        connections.push(TcpStream::connect(server.address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rejected = get(server.address, "/metrics").await;
    assert_eq!((rejected.status, rejected.header("retry-after")), (503, "1"));
    let limited: Vec<_> =
        server.options.counts.by_limit().filter(|(_, count)| *count > 0).collect();
    assert_eq!(limited, [(("connections", "refused"), 1)]);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    other.write_all(head("GET", "/metrics", &["Connection: close"]).as_bytes()).await.unwrap();
    let mut read = Vec::new();
    other.read_to_end(&mut read).await.unwrap();
    assert_eq!(parse(&read).status, 200);
    drop(connections);
    let until_served = async {
        while get(server.address, "/metrics").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), until_served).await.expect("not served again");
}

#[tokio::test]
async fn thousand_scrapers_each_get_200_or_503() {
    let script = Script { delay: Duration::from_millis(50), ..script() };
    let server = Server::start(script, ServerOptions::default());
    let mut scrapes = JoinSet::new();
    for _ in 0..1000 {
        let address = server.address;
        scrapes.spawn(async move { get(address, "/metrics").await.status });
    }
    let mut statuses = scrapes.join_all().await;
    statuses.sort_unstable();
    statuses.dedup();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
}
