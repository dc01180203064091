//! A host with 5,000 units.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use flate2::read::GzDecoder;

use crate::browser::Browser;
use crate::page_server::{PageData, PageServer};

#[tokio::test(flavor = "multi_thread")]
async fn page_of_5000_units_is_small_and_painted_in_time() {
    let server = PageServer::start(PageData::many(5000));
    for (path, rows) in [("/", 250), ("/?all=1", 5000)] {
        let start = Instant::now();
        let address = server.address;
        let body = tokio::task::spawn_blocking(move || gzipped(address, path)).await.unwrap();
        let took = start.elapsed();
        let mut page = String::new();
        GzDecoder::new(&*body).read_to_string(&mut page).unwrap();
        assert_eq!(page.matches("<tr><th scope=row><a").count(), rows);
        println!("{path}: {} bytes, {} compressed, in {took:?}", page.len(), body.len());
        assert!(body.len() < 300 << 10, "{} bytes", body.len());
    }
    let browser = Browser::open().await;
    for path in ["/", "/?all=1"] {
        browser.go(&server.url(path)).await;
        browser
            .until("the page is painted", "performance.getEntriesByType('paint').length > 0")
            .await;
        let paint = browser
            .run("return performance.getEntriesByName('first-contentful-paint')[0].startTime");
        let paint = paint.await.as_f64().unwrap();
        println!("{path}: first paint after {paint:.0} ms");
        // generous, for a busy machine
        assert!(paint < 10_000.0, "{paint} ms");
    }
    let start = Instant::now();
    browser.keys("#q", "4999").await;
    browser.until_rows(1).await;
    println!("filtered {:?} after the first key", start.elapsed());
    browser.close().await;
}

fn gzipped(address: std::net::SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    let head = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    response.split_off(head + 4)
}
