//! Routing, methods, content negotiation, and malformed requests.

use std::io::Read;
use std::time::Duration;

use unit_exporter::http::{Format, ServerOptions};

use crate::client::{exchange, get, head, request};
use crate::scripted_server::{PAGE, Script, Server};

#[tokio::test]
async fn status_pages_are_served_and_unknown_paths_get_404() {
    let server = Server::without_config();
    let page = get(server.address, "/?q=a%5Cx2d&sort=name").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("content-security-policy"), "default-src 'none'; style-src 'self'");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.text().contains("href=\"metrics\""));
    assert!(page.text().ends_with(r#"[("q", "a\\x2d"), ("sort", "name")]"#), "{}", page.text());
    let gone = get(server.address, "/unit/gone.service").await;
    assert_eq!((gone.status, gone.header("content-type")), (404, "text/html; charset=utf-8"));
    assert_eq!(get(server.address, "/panic").await.status, 500);
    assert_eq!(get(server.address, "/").await.status, 200, "a panic affects other requests");
    for path in
        ["/nope", "/metrics/", "/%6detrics", "//metrics", "/../metrics", "/metrics%00", "/-/"]
    {
        assert_eq!(get(server.address, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn head_matches_get_without_body() {
    let server = Server::without_config();
    for path in ["/metrics", "/"] {
        let expected = get(server.address, path).await;
        let response = request(server.address, "HEAD", path, &["Connection: close"]).await;
        assert_eq!((response.status, response.body.len()), (200, 0), "{path}");
        assert_eq!(response.header("content-length"), expected.body.len().to_string());
    }
}

#[tokio::test]
async fn methods_other_than_get_and_head_get_405() {
    let server = Server::without_config();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"] {
        for path in ["/metrics", "/", "/nope"] {
            let response = request(server.address, method, path, &["Connection: close"]).await;
            assert_eq!((response.status, response.header("allow")), (405, "GET, HEAD"), "{method}");
        }
    }
    assert!(server.script.scrapes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn health_checks_do_not_run_collectors() {
    let script = Script { not_ready: Some("no bus yet".to_owned()), ..Script::default() };
    let server = Server::start(script, ServerOptions::default());
    assert_eq!(get(server.address, "/-/healthy").await.status, 200);
    let ready = get(server.address, "/-/ready").await;
    assert_eq!((ready.status, ready.text()), (503, "no bus yet\n"));
    assert!(server.script.scrapes.lock().unwrap().is_empty());
    assert_eq!(get(Server::without_config().address, "/-/ready").await.status, 200);
}

#[tokio::test]
async fn telemetry_path_is_configurable() {
    let options = ServerOptions { telemetry_path: "/other".to_owned(), ..ServerOptions::default() };
    let server = Server::start(Script { page: PAGE.into(), ..Script::default() }, options);
    assert_eq!(get(server.address, "/other").await.body, PAGE);
    assert_eq!(get(server.address, "/metrics").await.status, 404);
}

#[tokio::test]
async fn format_and_encoding_are_negotiated() {
    const PROMETHEUS: &str = "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let server = Server::without_config();
    let plain = get(server.address, "/metrics").await;
    assert_eq!(plain.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(plain.header("content-encoding"), "");
    for path in ["/metrics", "/api/v1/events", "/nope"] {
        let response = get(server.address, path).await;
        assert_eq!(response.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(response.header("cache-control"), "no-store", "{path}");
    }
    assert_eq!(plain.body, PAGE);
    let lines = [PROMETHEUS, "Accept-Encoding: gzip", "Connection: close"];
    let response = request(server.address, "GET", "/metrics", &lines).await;
    assert_eq!(
        response.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert_eq!(response.header("content-encoding"), "gzip");
    let mut page = Vec::new();
    flate2::read::GzDecoder::new(&*response.body).read_to_end(&mut page).unwrap();
    assert_eq!(page, PAGE);
    let scrapes = server.script.scrapes.lock().unwrap();
    assert_eq!(scrapes[0].format, Format::Text);
    assert_eq!(scrapes[2].format, Format::OpenMetrics);
}

#[tokio::test]
async fn filters_and_scrape_timeout_are_passed_to_collection() {
    let server = Server::without_config();
    let lines = ["X-Prometheus-Scrape-Timeout-Seconds: 10", "Connection: close"];
    let target = "/metrics?collect[]=units&name[]=up&name[]=down";
    assert_eq!(request(server.address, "GET", target, &lines).await.status, 200);
    let scrape = server.script.scrapes.lock().unwrap()[0].clone();
    assert_eq!(scrape.timeout, Some(Duration::from_millis(9500)));
    assert_eq!((scrape.collect, scrape.exclude), (vec!["units".to_owned()], Vec::new()));
    assert_eq!(scrape.names, ["up", "down"]);
}

#[tokio::test]
async fn invalid_queries_and_failed_scrapes_get_error_status() {
    let server = Server::without_config();
    let many = format!("/metrics?{}", "name[]=x&".repeat(1000));
    for (target, status) in [
        ("/metrics?collect[]=nonsense", 400),
        ("/metrics?collect[]=units&exclude[]=units", 400),
        ("/metrics?collect[]=unavailable", 503),
        ("/metrics?collect[]=panic", 500),
        (&many, 400),
        ("/metrics", 200),
    ] {
        let response = get(server.address, target).await;
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.header("retry-after").is_empty(), status != 503);
    }
    for bad in ["NaN", "-1", "inf", "1e300", "x"] {
        let line = format!("X-Prometheus-Scrape-Timeout-Seconds: {bad}");
        let response =
            request(server.address, "GET", "/metrics", &[&line, "Connection: close"]).await;
        assert_eq!(response.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn request_without_exactly_one_host_gets_400() {
    let server = Server::without_config();
    let none = exchange(server.address, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(none.status, 400);
    let two = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.address, two).await.status, 400);
    assert_eq!(exchange(server.address, b"GET / HTTP/1.0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn oversized_request_heads_get_431() {
    let server = Server::without_config();
    let long = format!("X-Long: {}", "x".repeat(64 << 10));
    let huge = format!("X-Huge: {}", "x".repeat(2 << 20));
    let many: Vec<_> = (0..500).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let target = format!("/{}", "x".repeat(1 << 20));
    for request in [
        head("GET", "/", &[&long]),
        head("GET", "/", &[&huge]),
        head("GET", "/", &many),
        head("GET", &target, &[]),
    ] {
        assert_eq!(exchange(server.address, request.as_bytes()).await.status, 431);
    }
    server.wait_for_count(431, 4).await;
    let fits = format!("X-Long: {}", "x".repeat(8 << 10));
    let response = request(server.address, "GET", "/", &[&fits, "Connection: close"]).await;
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn request_body_is_not_read_and_connection_is_closed() {
    let server = Server::without_config();
    let twice = head("GET", "/", &["Content-Length: 1", "Content-Length: 2"]);
    assert_eq!(exchange(server.address, twice.as_bytes()).await.status, 400);
    // each exchange hangs if the server waits for the body or keeps the connection open
    for lines in [
        &["Content-Length: 4", "Transfer-Encoding: chunked"] as &[_],
        &["Transfer-Encoding: chunked"],
        &["Content-Length: 4", "Content-Length: 4"],
        &["Content-Length: 1073741824"],
        &["Content-Length: 1073741824", "Expect: 100-continue"],
    ] {
        let head = head("GET", "/metrics", lines);
        let response =
            tokio::time::timeout(Duration::from_secs(5), exchange(server.address, head.as_bytes()));
        let response = response.await.unwrap();
        assert_eq!((response.status, response.header("connection")), (200, "close"), "{lines:?}");
    }
    let smuggled = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\nGET / HTTP/1.1\r\nHost: smuggled\r\n\r\n";
    let response = exchange(server.address, smuggled.as_bytes()).await;
    assert_eq!(response.status, 405);
    assert!(!response.text().contains("HTTP/1.1"), "more than one response");
}

#[tokio::test]
async fn responses_are_counted_by_status_code() {
    let server = Server::without_config();
    get(server.address, "/metrics").await;
    get(server.address, "/metrics").await;
    get(server.address, "/nope").await;
    request(server.address, "POST", "/", &["Connection: close"]).await;
    exchange(server.address, b"nonsense\r\n\r\n").await;
    for (code, count) in [(200, 2), (404, 1), (405, 1), (400, 1)] {
        server.wait_for_count(code, count).await;
    }
}
