//! A host with 5,000 units.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use flate2::read::GzDecoder;

use crate::browser::Browser;
use crate::host::{Served, Told};

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_units_are_a_small_page_soon_painted() {
    let served = Served::start(Told::many(5000));
    for (path, rows) in [("/", 250), ("/?all=1", 5000)] {
        let begun = Instant::now();
        let address = served.address;
        let body = tokio::task::spawn_blocking(move || gzipped(address, path)).await.unwrap();
        let took = begun.elapsed();
        let mut page = String::new();
        GzDecoder::new(&*body).read_to_string(&mut page).unwrap();
        assert_eq!(page.matches("<tr><th scope=row><a").count(), rows);
        println!("{path}: {} bytes, {} compressed, in {took:?}", page.len(), body.len());
        assert!(body.len() < 300 << 10, "{} bytes", body.len());
    }
    let browser = Browser::open().await;
    for path in ["/", "/?all=1"] {
        browser.go(&served.url(path)).await;
        browser.until("it is painted", "performance.getEntriesByType('paint').length > 0").await;
        let paint = browser
            .run("return performance.getEntriesByName('first-contentful-paint')[0].startTime");
        let paint = paint.await.as_f64().unwrap();
        println!("{path}: first paint after {paint:.0} ms");
        // a busy machine is slow, but not that slow
        assert!(paint < 10_000.0, "{paint} ms");
    }
    let begun = Instant::now();
    browser.keys("#q", "4999").await;
    browser.until("one is left", "document.querySelectorAll('.units tbody tr').length === 1").await;
    println!("filtered {:?} after the first key", begun.elapsed());
    browser.close().await;
}

fn gzipped(address: std::net::SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    answer.split_off(head + 4)
}
