//! What a crowd costs the process that serves it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::child::Served;
use crate::client::{get, head, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_scrapers_at_once_cost_little_memory() {
    let served = Served::start(&[("UNITS", "1000")]);
    let address = served.address;
    let lines = ["Accept-Encoding: gzip", "Connection: close"];
    for _ in 0..3 {
        assert_eq!(request(address, "GET", "/metrics", &lines).await.status, 200);
    }
    let before = served.memory("VmHWM");
    let mut scrapers = JoinSet::new();
    for _ in 0..1000 {
        scrapers.spawn(async move {
            let mut heard = Vec::new();
            for _ in 0..3 {
                let start = Instant::now();
                let answer = request(address, "GET", "/metrics", &lines).await;
                heard.push((answer.status, start.elapsed()));
            }
            heard
        });
    }
    let heard = scrapers.join_all().await.concat();
    let growth = served.memory("VmHWM") - before;
    let mut statuses = BTreeMap::<u16, Vec<Duration>>::new();
    for (status, took) in heard {
        statuses.entry(status).or_default().push(took);
    }
    for (status, took) in &mut statuses {
        took.sort_unstable();
        let p99 = took[took.len() * 99 / 100];
        println!("status {status}: {} answers, 99 % within {p99:?}", took.len());
    }
    println!("memory: {before} KiB before, at most {growth} KiB more during");
    assert!(statuses.keys().all(|status| [200, 503].contains(status)));
    assert!(statuses[&200].len() >= 40, "{}", statuses[&200].len());
    // a page each would be 600 MiB and more
    assert!(growth < 40 << 10, "{growth} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_cost_no_memory() {
    let served = Served::start(&[("UNITS", "1000"), ("ANSWER_SECONDS", "3")]);
    assert_eq!(get(served.address, "/metrics").await.status, 200);
    let before = served.memory("VmRSS");
    let mut waves = Vec::new();
    for _ in 0..3 {
        let mut silent = Vec::new();
        for n in 0..200 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(1).unwrap();
            let mut stream = socket.connect(served.address).await.unwrap();
            stream.write_all(head("GET", "/metrics", &[]).as_bytes()).await.unwrap();
            silent.push(stream);
            if n % 20 == 0 {
                // not all in one collection
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let during = served.memory("VmRSS").saturating_sub(before);
        tokio::time::sleep(Duration::from_secs(4)).await;
        let after = served.memory("VmRSS").saturating_sub(before);
        println!("200 that never read: {during} KiB more while they hang, {after} KiB later");
        waves.push((during, after));
        assert_eq!(get(served.address, "/metrics").await.status, 200);
    }
    // one page each would be 600 MiB
    assert!(waves.iter().all(|(during, _)| *during < 80 << 10), "{waves:?}");
    // what the allocator keeps is kept for the next ones
    assert!(waves[2].1 < waves[0].1 + (10 << 10), "{waves:?}");
}

#[tokio::test]
async fn too_few_descriptors_make_it_wait_and_not_spin() {
    let served = Served::start(&[("FILES", "32")]);
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = served.ticks();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spent = served.ticks() - before;
    println!("{spent} ticks of CPU in 3 s without descriptors");
    assert!(spent < 30, "{spent} ticks");
    drop(idle);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(get(served.address, "/metrics").await.status, 200);
}
