//! What is answered to which request.

use std::io::Read;
use std::time::Duration;

use unit_exporter::http::{Format, Options};

use crate::client::{exchange, get, head, request};
use crate::site::{PAGE, Script, Server};

#[tokio::test]
async fn pages_for_people_are_the_sites_and_other_paths_are_not_found() {
    let server = Server::plain();
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
    assert_eq!(get(server.address, "/").await.status, 200, "a panic costs one answer");
    for path in
        ["/nope", "/metrics/", "/%6detrics", "//metrics", "/../metrics", "/metrics%00", "/-/"]
    {
        assert_eq!(get(server.address, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Server::plain();
    for path in ["/metrics", "/"] {
        let got = get(server.address, path).await;
        let answer = request(server.address, "HEAD", path, &["Connection: close"]).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
        assert_eq!(answer.header("content-length"), got.body.len().to_string());
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed_anywhere() {
    let server = Server::plain();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"] {
        for path in ["/metrics", "/", "/nope"] {
            let answer = request(server.address, method, path, &["Connection: close"]).await;
            assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method}");
        }
    }
    assert!(server.script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn health_does_not_touch_the_collectors() {
    let script = Script { unready: Some("no bus yet".to_owned()), ..Script::default() };
    let server = Server::start(script, Options::default());
    assert_eq!(get(server.address, "/-/healthy").await.status, 200);
    let ready = get(server.address, "/-/ready").await;
    assert_eq!((ready.status, ready.text()), (503, "no bus yet\n"));
    assert!(server.script.asked.lock().unwrap().is_empty());
    assert_eq!(get(Server::plain().address, "/-/ready").await.status, 200);
}

#[tokio::test]
async fn the_telemetry_path_can_be_another() {
    let options = Options { telemetry_path: "/other".to_owned(), ..Options::default() };
    let server = Server::start(Script { page: PAGE.into(), ..Script::default() }, options);
    assert_eq!(get(server.address, "/other").await.body, PAGE);
    assert_eq!(get(server.address, "/metrics").await.status, 404);
}

#[tokio::test]
async fn the_form_is_negotiated() {
    const PROMETHEUS: &str = "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let server = Server::plain();
    let plain = get(server.address, "/metrics").await;
    assert_eq!(plain.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(plain.header("content-encoding"), "");
    assert_eq!(plain.body, PAGE);
    let lines = [PROMETHEUS, "Accept-Encoding: gzip", "Connection: close"];
    let answer = request(server.address, "GET", "/metrics", &lines).await;
    assert_eq!(
        answer.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert_eq!(answer.header("content-encoding"), "gzip");
    let mut page = Vec::new();
    flate2::read::GzDecoder::new(&*answer.body).read_to_end(&mut page).unwrap();
    assert_eq!(page, PAGE);
    let asked = server.script.asked.lock().unwrap();
    assert_eq!(asked[0].format, Format::Text);
    assert_eq!(asked[1].format, Format::OpenMetrics);
}

#[tokio::test]
async fn filters_and_the_scrape_timeout_reach_the_site() {
    let server = Server::plain();
    let lines = ["X-Prometheus-Scrape-Timeout-Seconds: 10", "Connection: close"];
    let target = "/metrics?collect[]=units&name[]=up&name[]=down";
    assert_eq!(request(server.address, "GET", target, &lines).await.status, 200);
    let asked = server.script.asked.lock().unwrap()[0].clone();
    assert_eq!(asked.timeout, Some(Duration::from_millis(9500)));
    assert_eq!((asked.collect, asked.exclude), (vec!["units".to_owned()], Vec::new()));
    assert_eq!(asked.names, ["up", "down"]);
}

#[tokio::test]
async fn bad_queries_and_refusals_are_told() {
    let server = Server::plain();
    let many = format!("/metrics?{}", "name[]=x&".repeat(1000));
    for (target, status) in [
        ("/metrics?collect[]=nonsense", 400),
        ("/metrics?collect[]=units&exclude[]=units", 400),
        ("/metrics?collect[]=nothing", 503),
        ("/metrics?collect[]=panic", 500),
        (&many, 400),
        ("/metrics", 200),
    ] {
        let answer = get(server.address, target).await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.header("retry-after").is_empty(), status != 503);
    }
    for bad in ["NaN", "-1", "inf", "1e300", "x"] {
        let line = format!("X-Prometheus-Scrape-Timeout-Seconds: {bad}");
        let answer =
            request(server.address, "GET", "/metrics", &[&line, "Connection: close"]).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_request_without_exactly_one_host_is_refused() {
    let server = Server::plain();
    let none = exchange(server.address, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(none.status, 400);
    let two = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.address, two).await.status, 400);
    assert_eq!(exchange(server.address, b"GET / HTTP/1.0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn large_heads_are_refused() {
    let server = Server::plain();
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
    server.until_counted(431, 4).await;
    let fits = format!("X-Long: {}", "x".repeat(8 << 10));
    let answer = request(server.address, "GET", "/", &[&fits, "Connection: close"]).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_is_never_read_and_its_connection_is_closed() {
    let server = Server::plain();
    let twice = head("GET", "/", &["Content-Length: 1", "Content-Length: 2"]);
    assert_eq!(exchange(server.address, twice.as_bytes()).await.status, 400);
    // each of these would wait for ever if the server waited for the body or kept the connection
    for lines in [
        &["Content-Length: 4", "Transfer-Encoding: chunked"] as &[_],
        &["Transfer-Encoding: chunked"],
        &["Content-Length: 4", "Content-Length: 4"],
        &["Content-Length: 1073741824"],
        &["Content-Length: 1073741824", "Expect: 100-continue"],
    ] {
        let head = head("GET", "/metrics", lines);
        let answer =
            tokio::time::timeout(Duration::from_secs(5), exchange(server.address, head.as_bytes()));
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, "close"), "{lines:?}");
    }
    let smuggled = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\nGET / HTTP/1.1\r\nHost: smuggled\r\n\r\n";
    let answer = exchange(server.address, smuggled.as_bytes()).await;
    assert_eq!(answer.status, 405);
    assert!(!answer.text().contains("HTTP/1.1"), "one answer only");
}

#[tokio::test]
async fn answers_are_counted_by_code() {
    let server = Server::plain();
    get(server.address, "/metrics").await;
    get(server.address, "/metrics").await;
    get(server.address, "/nope").await;
    request(server.address, "POST", "/", &["Connection: close"]).await;
    exchange(server.address, b"nonsense\r\n\r\n").await;
    for (code, count) in [(200, 2), (404, 1), (405, 1), (400, 1)] {
        server.until_counted(code, count).await;
    }
}
