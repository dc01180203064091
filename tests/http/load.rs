//! Memory and CPU time of the server process under load.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::client::{get, head, request};
use crate::server_process::ServerProcess;

#[tokio::test(flavor = "multi_thread")]
async fn thousand_concurrent_scrapers_use_bounded_memory() {
    let server = ServerProcess::start(&[("UNITS", "1000")]);
    let address = server.address;
    let lines = ["Accept-Encoding: gzip", "Connection: close"];
    for _ in 0..3 {
        assert_eq!(request(address, "GET", "/metrics", &lines).await.status, 200);
    }
    let before = server.memory_kib("VmHWM");
    let mut scrapers = JoinSet::new();
    for _ in 0..1000 {
        scrapers.spawn(async move {
            let mut results = Vec::new();
            for _ in 0..3 {
                let start = Instant::now();
                let response = request(address, "GET", "/metrics", &lines).await;
                results.push((response.status, start.elapsed()));
            }
            results
        });
    }
    let results = scrapers.join_all().await.concat();
    let growth = server.memory_kib("VmHWM") - before;
    let mut statuses = BTreeMap::<u16, Vec<Duration>>::new();
    for (status, took) in results {
        statuses.entry(status).or_default().push(took);
    }
    for (status, took) in &mut statuses {
        took.sort_unstable();
        let p99 = took[took.len() * 99 / 100];
        println!("status {status}: {} responses, 99 % within {p99:?}", took.len());
    }
    println!("memory: {before} KiB before, at most {growth} KiB more during the scrapes");
    assert!(statuses.keys().all(|status| [200, 503].contains(status)));
    assert!(statuses[&200].len() >= 40, "{}", statuses[&200].len());
    // one response per scraper would be more than 600 MiB
    assert!(growth < 40 << 10, "{growth} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_use_bounded_memory() {
    let server = ServerProcess::start(&[("UNITS", "1000"), ("ANSWER_SECONDS", "3")]);
    assert_eq!(get(server.address, "/metrics").await.status, 200);
    let before = server.memory_kib("VmRSS");
    let mut waves = Vec::new();
    for _ in 0..3 {
        let mut clients = Vec::new();
        for n in 0..200 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(1).unwrap();
            let mut stream = socket.connect(server.address).await.unwrap();
            stream.write_all(head("GET", "/metrics", &[]).as_bytes()).await.unwrap();
            clients.push(stream);
            if n % 20 == 0 {
                // spread over several collections
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let during = server.memory_kib("VmRSS").saturating_sub(before);
        tokio::time::sleep(Duration::from_secs(4)).await;
        let after = server.memory_kib("VmRSS").saturating_sub(before);
        println!(
            "200 clients that never read: {during} KiB more while connected, {after} KiB after"
        );
        waves.push((during, after));
        assert_eq!(get(server.address, "/metrics").await.status, 200);
    }
    // one response per client would be 600 MiB
    assert!(waves.iter().all(|(during, _)| *during < 80 << 10), "{waves:?}");
    // memory that the allocator retains is reused by the next wave
    assert!(waves[2].1 < waves[0].1 + (10 << 10), "{waves:?}");
}

#[tokio::test]
async fn fd_exhaustion_does_not_spin_accept_loop() {
    let server = ServerProcess::start(&[("FILES", "32")]);
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = server.cpu_ticks();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spent = server.cpu_ticks() - before;
    println!("{spent} ticks of CPU in 3 s without free file descriptors");
    assert!(spent < 30, "{spent} ticks");
    drop(idle);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(get(server.address, "/metrics").await.status, 200);
}
