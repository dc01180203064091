//! Fuzz targets: requests of clients, and the web configuration.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime;
use tokio::sync::watch;

use super::app::{App, EventsRequest, Format, HtmlPage, HttpError, ScrapeRequest};
use super::limits::{Limits, MAX_FILTERS};
use super::listen_address::{Peer, Stream};
use super::router::Router;
use super::server::ServerOptions;
use super::timeouts::ConnectionTimer;
use super::{basic_auth, config, connection, scrape_request};
use crate::systemd::unit::name::is_valid;

/// The query and the headers of a request, a line each.
pub(crate) fn request(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let query = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let mut headers = HeaderMap::new();
    let names = [ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, TIMEOUT, ACCEPT, ACCEPT_ENCODING];
    for (name, line) in names.into_iter().zip(lines) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    if let Ok(request) = scrape_request::parse(query, &headers) {
        let lengths = [&request.collect, &request.exclude, &request.names].map(Vec::len);
        assert!(lengths.into_iter().all(|length| length <= MAX_FILTERS), "{lengths:?}");
        assert!(request.timeout.is_none_or(|timeout| !timeout.is_zero()));
        assert!(headers.contains_key(ACCEPT) || request.format == Format::Text);
    }
    if let Ok(request) = scrape_request::parse_events(query) {
        assert!(request.unit.is_none_or(|unit| is_valid(&unit)));
        assert!(request.limit != Some(0));
    }
    assert!(scrape_request::pairs(query).len() <= MAX_FILTERS);
    assert!(headers.contains_key(ACCEPT_ENCODING) || !scrape_request::accepts_gzip(&headers));
    let _ = basic_auth::credentials(&headers);
    credentials(data);
}

/// Every name without a colon and every password is decoded unchanged.
fn credentials(data: &[u8]) {
    let value = format!("Basic {}", BASE64_STANDARD.encode(data));
    let value = HeaderValue::try_from(value).expect("base64");
    let read = basic_auth::credentials(&[(AUTHORIZATION, value)].into_iter().collect());
    let parts = data.iter().position(|byte| *byte == b':').map(|colon| data.split_at(colon));
    let read = read.map(|read| (read.user.to_vec(), read.password.to_vec()));
    assert_eq!(read, parts.map(|(user, password)| (user.to_vec(), password[1..].to_vec())));
}

/// The file of `--web.config.file`.
pub(crate) fn config(data: &[u8]) {
    match config::parse(data, Path::new("/etc/unit-exporter/web.yml")) {
        Ok(config) => assert!(config.users.values().all(|hash| hash.len() == 60)),
        Err(error) => assert!(error.to_string().starts_with("/etc/unit-exporter/web.yml: ")),
    }
}

/// A connection on which a client sends only `data`.
pub(crate) fn http(data: &[u8]) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (mut peer, server) = UnixStream::pair().expect("sockets");
        let router = Router::new(Empty, ServerOptions::default());
        let (_sender, shutdown) = watch::channel(false);
        let client = ConnectionTimer::new(Peer::User(0), &Limits::default());
        let serving =
            tokio::spawn(connection::serve(Stream::Right(server), client, router, shutdown));
        // the server may close before it has read everything
        let sent = async {
            let _ = peer.write_all(data).await;
            let _ = peer.shutdown().await;
            let mut answer = Vec::new();
            let _ = peer.read_to_end(&mut answer).await;
            answer
        };
        let answer = sent.await;
        serving.await.expect("no panic");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{answer:?}");
    });
}

/// An app without HTML pages.
struct Empty;

impl App for Empty {
    async fn metrics(&self, request: ScrapeRequest) -> Result<Bytes, HttpError> {
        Ok(format!("{request:?}").into())
    }

    async fn page(
        &self,
        _path: &str,
        _query: Vec<(String, String)>,
    ) -> Result<Option<HtmlPage>, HttpError> {
        Ok(None)
    }

    fn events(&self, request: &EventsRequest) -> Bytes {
        format!("{request:?}").into()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
