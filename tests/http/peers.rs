//! One or a few addresses attack the limits that all clients share; a scraper at another address is
//! served meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use unit_exporter::cli::hash_password;

use crate::certificates::ConfigDir;
use crate::client::{head, parse};
use crate::server_process::ServerProcess;
use crate::tls_client::TlsClient;

/// A connection from this loopback address, with a small receive buffer.
async fn connect(from: &str, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(server).await.unwrap()
}

/// The status of one request from this address; 0 if the server closes the connection.
async fn status(from: &str, server: SocketAddr, path: &str, lines: &[&str]) -> u16 {
    let mut stream = connect(from, server).await;
    let lines = [lines, &["Connection: close"]].concat();
    let _ = stream.write_all(head("GET", path, &lines).as_bytes()).await;
    let mut read = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut read)).await;
    if read.is_empty() { 0 } else { parse(&read).status }
}

fn basic(credentials: &str) -> String {
    format!("Authorization: Basic {}", BASE64_STANDARD.encode(credentials))
}

const SCRAPER: &str = "127.0.0.9";

#[tokio::test(flavor = "multi_thread")]
async fn unread_http2_bodies_behind_logins_use_bounded_memory() {
    let dir = ConfigDir::new();
    let hash = hash_password(b"dave123", 12).unwrap();
    let config = dir.tls(&[]);
    let text = std::fs::read_to_string(&config).unwrap();
    let config = dir.write("web.yml", &format!("{text}basic_auth_users:\n  dave: {hash}\n"));
    let server = ServerProcess::start(&[("CONFIG", config.to_str().unwrap())]);
    let address = server.address;
    let login = basic("dave:dave123");
    let scrape = async || {
        let lines = [&*login, "Connection: close"];
        TlsClient::default().request(address, "/metrics", &lines).await.map_or(0, |it| it.status)
    };
    assert_eq!(scrape().await, 200);
    let before = server.memory_kib("VmHWM");
    let body = Bytes::from(vec![0; 1 << 20]);
    let mut attack = JoinSet::new();
    for n in 0..370 {
        if n == 25 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let body = body.clone();
        attack.spawn(async move {
            let client = TlsClient { alpn: vec!["h2"], ..TlsClient::default() };
            let Ok(stream) = client.connect(address).await else { return };
            let handshake =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let Ok((mut sender, connection)) = handshake.await else { return };
            tokio::spawn(connection);
            // the first ones fill the queue of comparisons; the others share the last one in it
            let guess = BASE64_STANDARD.encode(format!("dave:guess {}", n.min(24)));
            let request = hyper::Request::builder()
                .method("POST")
                .uri("https://localhost/metrics")
                .header("authorization", format!("Basic {guess}"))
                .body(Full::new(body))
                .unwrap();
            if sender.ready().await.is_ok() {
                let _ = sender.send_request(request).await;
            }
            // the connection stays open
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(sender);
        });
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let growth = server.memory_kib("VmHWM") - before;
    println!("370 HTTP/2 connections with 1 MiB of data each: {growth} KiB more at most");
    attack.shutdown().await;
    // 192 connections with their windows, TLS sessions and tasks
    assert!(growth < 60 << 10, "{growth} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_leave_unread_bytes_for_others() {
    let server = ServerProcess::start(&[("UNITS", "1000")]);
    let address = server.address;
    assert_eq!(status(SCRAPER, address, "/metrics", &[]).await, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let mut attack = JoinSet::new();
    for attacker in ["127.0.0.1", "127.0.0.2"] {
        let stop = stop.clone();
        attack.spawn(async move {
            let mut open = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let mut stream = connect(attacker, address).await;
                let _ = stream.write_all(head("GET", "/metrics", &[]).as_bytes()).await;
                open.push(stream);
                if open.len() > 150 {
                    open.remove(0);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(status(SCRAPER, address, "/metrics", &[]).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    stop.store(true, Ordering::Relaxed);
    attack.join_all().await;
    println!("scrapes beside clients that read nothing: {statuses:?}");
    assert_eq!(statuses, [200; 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_a_few_addresses_lock_out_no_client() {
    let server = ServerProcess::start(&[]);
    let address = server.address;
    let mut idle = Vec::new();
    for attacker in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        for _ in 0..400 {
            let mut stream = connect(attacker, address).await;
            let _ = stream.write_all(head("GET", "/-/healthy", &[]).as_bytes()).await;
            idle.push(stream);
        }
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut statuses = Vec::new();
    for scraper in [SCRAPER, "127.0.0.8", "127.0.0.7", "127.0.0.1", "127.0.0.2"] {
        statuses.push(status(scraper, address, "/metrics", &[]).await);
    }
    // the peers with many idle connections exchange one for each new connection
    println!("scrapes beside 1200 idle connections of three addresses: {statuses:?}");
    assert_eq!(statuses, [200; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_of_one_address_leave_requests_for_others() {
    let server = ServerProcess::start(&[("UNITS", "3000")]);
    let address = server.address;
    let stop = Arc::new(AtomicBool::new(false));
    let mut attack = JoinSet::new();
    for n in 0..60 {
        let stop = stop.clone();
        attack.spawn(async move {
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("/metrics?name[]=x{n}_{round}");
                status("127.0.0.1", address, &path, &[]).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut statuses, mut slowest) = (Vec::new(), Duration::ZERO);
    for _ in 0..10 {
        let start = Instant::now();
        statuses.push(status(SCRAPER, address, "/metrics", &[]).await);
        slowest = slowest.max(start.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    attack.join_all().await;
    println!("scrapes beside 60 of another address: {statuses:?}, slowest {slowest:?}");
    assert_eq!(statuses, [200; 10]);
}

/// A restarted exporter has no cached login.
#[tokio::test(flavor = "multi_thread")]
async fn first_login_succeeds_within_10_s_beside_guesses_of_one_address() {
    for (cost, guessers) in [(10, 80), (12, 50)] {
        let dir = ConfigDir::new();
        let hash = hash_password(b"dave123", cost).unwrap();
        let config = dir.write("web.yml", &format!("basic_auth_users:\n  dave: {hash}\n"));
        let server = ServerProcess::start(&[("CONFIG", config.to_str().unwrap())]);
        let address = server.address;
        let stop = Arc::new(AtomicBool::new(false));
        let mut attack = JoinSet::new();
        for n in 0..guessers {
            let stop = stop.clone();
            attack.spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let guess = basic(&format!("dave:guess {n} {round}"));
                    status("127.0.0.1", address, "/metrics", &[&guess]).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let start = Instant::now();
        let mut tries = 0;
        while status(SCRAPER, address, "/metrics", &[&basic("dave:dave123")]).await != 200 {
            tries += 1;
            assert!(start.elapsed() < Duration::from_secs(60), "no login within a minute");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = start.elapsed();
        println!("cost {cost}, {guessers} guessers: first login after {took:?}, {tries} refused");
        stop.store(true, Ordering::Relaxed);
        attack.join_all().await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(tries, 0);
    }
}
