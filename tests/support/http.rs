//! A plain HTTP client for tests: one request per connection, the response not decoded.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::Machine;

/// The response of a server.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields in order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, not decoded.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the first field with this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; panics if it is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }
}

impl Machine {
    /// Sends a GET request to a server on the loopback address inside.
    pub fn get(&self, port: u16, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        self.request(port, "GET", path, headers)
    }

    /// Sends a request with any method to a server on the loopback address inside.
    pub fn request(
        &self,
        port: u16,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<Response> {
        send_request(self.tcp(port)?, method, path, headers)
    }
}

/// Sends one request over a connection and reads the response to its end.
pub fn send_request(
    mut connection: TcpStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response> {
    let fields: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    connection.set_read_timeout(Some(TIMEOUT))?;
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: machine\r\nConnection: close\r\n{fields}\r\n"
    )?;
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes)?;
    let mut response = parse(&bytes).ok_or_else(|| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP response: {start:?}"))
    })?;
    if response.header("transfer-encoding").is_some() {
        response.body = decode_chunks(&response.body)
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "truncated chunks"))?;
        return Ok(response);
    }
    match response.header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if method != "HEAD" && response.body.len() != length => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "truncated body"))
        }
        _ => Ok(response),
    }
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Response {
        status,
        headers: headers.collect::<Option<_>>()?,
        body: bytes[end + 4..].to_vec(),
    })
}

/// Decodes a chunked body.
fn decode_chunks(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&chunks[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let from = end + 2;
        body.extend_from_slice(chunks.get(from..from + size)?);
        chunks = chunks.get(from + size + 2..)?;
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);
