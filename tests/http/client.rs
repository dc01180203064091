//! A plaintext HTTP/1 client that sends raw bytes and parses the response.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response, read until the server closes the connection.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Keys are lowercase.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Sends raw bytes and reads until the server closes the connection.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // a server that rejects the request may close before it has read all of it
    let _ = stream.write_all(request).await;
    let mut read = Vec::new();
    if let Err(error) = stream.read_to_end(&mut read).await {
        assert!(!read.is_empty(), "no response: {error}");
    }
    parse(&read)
}

/// Sends a request with these header lines.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    lines: &[&str],
) -> Response {
    exchange(address, head(method, target, lines).as_bytes()).await
}

pub(crate) async fn get(address: SocketAddr, target: &str) -> Response {
    request(address, "GET", target, &["Connection: close"]).await
}

pub(crate) fn head(method: &str, target: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

pub(crate) fn parse(bytes: &[u8]) -> Response {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| {
        panic!("no end of the response head in {:?}", String::from_utf8_lossy(bytes))
    });
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Response { status, headers, body: bytes[end + 4..].to_vec() }
}
