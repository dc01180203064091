//! TLS settings of the web configuration file.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group};
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, ProtocolVersion, SupportedCipherSuite, version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{
    ConfigDir, HOUR, Identity, expired_client, issued_client, selfsigned_client, short_lived_client,
};
use crate::client::{exchange, get, head, parse};
use crate::scripted_server::Server;
use crate::tls_client::{TlsClient, connect};

fn tls12_client(suites: &[SupportedCipherSuite]) -> TlsClient {
    let mut client = TlsClient { versions: vec![&version::TLS12], ..TlsClient::default() };
    client.provider.cipher_suites = suites.to_vec();
    client
}

#[tokio::test]
async fn tls_works_with_pem_files_and_inline_pem() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.tls(&[]));
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
    let indent = |text: String| text.replace('\n', "\n    ");
    let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n",
        indent(read("server.crt")),
        indent(read("server.key"))
    );
    let server = Server::with_config(&dir.write("inline.yml", &text));
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
}

#[tokio::test]
async fn plaintext_request_to_tls_port_gets_400() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.tls(&[]));
    let response = exchange(server.address, head("GET", "/metrics", &[]).as_bytes()).await;
    assert_eq!(response.status, 400);
    assert_eq!(response.text(), "Client sent an HTTP request to an HTTPS server.\n");
    assert!(server.script.scrapes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn tls_handshake_with_plaintext_port_fails() {
    let server = Server::without_config();
    assert!(TlsClient::default().connect(server.address).await.is_err());
    assert_eq!(get(server.address, "/metrics").await.status, 200);
}

#[tokio::test]
async fn only_configured_tls_versions_are_accepted() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.tls(&[]));
    // a ClientHello for TLS 1.1 at most
    let hello = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x02\
        0123456789abcdef0123456789abcdef\x00\x00\x02\xc0\x09\x01\x00";
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert.first(), Some(&0x15), "not an alert: {alert:?}");
    let old = TlsClient { versions: vec![&version::TLS12], ..TlsClient::default() };
    let new = TlsClient { versions: vec![&version::TLS13], ..TlsClient::default() };
    for (line, with_old, with_new) in [
        ("min_version: TLS12", true, true),
        ("min_version: TLS13", false, true),
        ("max_version: TLS12", true, false),
        ("min_version: TLS10", true, true),
    ] {
        let server = Server::with_config(&dir.tls(&[line]));
        let status = old.scrape_status(server.address).await;
        assert_eq!(status.is_ok(), with_old, "{line}: {status:?}");
        let status = new.scrape_status(server.address).await;
        assert_eq!(status.is_ok(), with_new, "{line}: {status:?}");
    }
}

#[tokio::test]
async fn only_configured_cipher_suites_are_accepted() {
    let dir = ConfigDir::new();
    let all = "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_256_CBC_SHA, \
               TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, \
               TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
               TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305]";
    let server = Server::with_config(&dir.tls(&[all]));
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
    let one = "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]";
    let server = Server::with_config(&dir.tls(&[one]));
    let supported = tls12_client(&[suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]);
    assert_eq!(supported.scrape_status(server.address).await, Ok(200));
    let other = tls12_client(&[suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]);
    let refused = other.scrape_status(server.address).await;
    assert_eq!(refused, Err(AlertDescription::HandshakeFailure));
}

#[tokio::test]
async fn server_cipher_order_is_preferred_unless_disabled() {
    let dir = ConfigDir::new();
    let suites = "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
                  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]";
    let aes = suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let chacha = suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    for (lines, expected) in [
        (&[suites] as &[_], [aes, aes]),
        (&[suites, "prefer_server_cipher_suites: false"], [aes, chacha]),
    ] {
        let server = Server::with_config(&dir.tls(lines));
        let first = tls12_client(&[aes, chacha]).negotiated(server.address).await.unwrap().0;
        let second = tls12_client(&[chacha, aes]).negotiated(server.address).await.unwrap().0;
        assert_eq!([first, second], expected.map(|suite| suite.suite()), "{lines:?}");
    }
}

#[tokio::test]
async fn only_configured_curves_are_accepted() {
    let dir = ConfigDir::new();
    let all = "curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]";
    let server = Server::with_config(&dir.tls(&[all]));
    let with = |group| {
        let mut client = TlsClient::default();
        client.provider.kx_groups = vec![group];
        client
    };
    for group in [kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519] {
        assert_eq!(with(group).scrape_status(server.address).await, Ok(200), "{group:?}");
    }
    let server = Server::with_config(&dir.tls(&["curve_preferences: [CurveP521, CurveP256]"]));
    let refused = with(kx_group::SECP384R1).scrape_status(server.address).await;
    assert_eq!(refused, Err(AlertDescription::HandshakeFailure));
    // CurveP521 is ignored; without another curve the default ones are used
    let server = Server::with_config(&dir.tls(&["curve_preferences: [CurveP521]"]));
    assert_eq!(with(kx_group::SECP384R1).scrape_status(server.address).await, Ok(200));
}

/// OpenSSL supports P-521 and CBC, which the Rust client does not.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_negotiates_neither_p521_nor_cbc() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.tls(&["curve_preferences: [CurveP521, CurveP256]"]));
    for version in ["-tls1_3", "-tls1_2"] {
        let output = openssl(server.address.port(), &[version, "-groups", "P-256"]).await;
        assert!(output.contains("BEGIN CERTIFICATE"), "{version}: {output}");
    }
    for group in ["P-384", "P-521"] {
        let output = openssl(server.address.port(), &["-groups", group]).await;
        assert!(!output.contains("BEGIN CERTIFICATE"), "{group}: {output}");
    }
    let server = Server::with_config(&dir.tls(&[]));
    let cbc = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"];
    let output = openssl(server.address.port(), &cbc).await;
    assert!(output.contains("handshake failure"), "{output}");
}

#[expect(clippy::disallowed_types, reason = "checks against another TLS implementation")]
async fn openssl(port: u16, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
    command.stdin(std::process::Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.unwrap().expect("this test needs openssl: apt-get install openssl");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test]
async fn http2_is_negotiated_unless_disabled() {
    let dir = ConfigDir::new();
    let client = TlsClient { alpn: vec!["h2", "http/1.1"], ..TlsClient::default() };
    let server = Server::with_config(&dir.tls(&[]));
    let stream = client.connect(server.address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for (method, path, status) in [
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("POST", "/", 405),
        ("GET", "/x", 404),
    ] {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.version()),
            (status, hyper::Version::HTTP_2)
        );
        let length = response.headers().get("content-length").cloned();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        if method == "GET" {
            assert_eq!(length, Some(HeaderValue::from(body.len())));
        } else if method == "HEAD" {
            assert!(body.is_empty());
        }
    }
    let text = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n\
                http_server_config: {http2: false}\n";
    let server = Server::with_config(&dir.write("web.yml", text));
    let stream = client.connect(server.address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(client.scrape_status(server.address).await, Ok(200));
}

#[tokio::test]
async fn any_client_certificate_is_accepted_without_verification() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.tls(&["client_auth_type: RequireAnyClientCert"]));
    let refused = TlsClient::default().scrape_status(server.address).await;
    assert_eq!(refused, Err(AlertDescription::CertificateRequired));
    let (_, issued) = issued_client(&["x"]);
    for identity in [selfsigned_client(&["x"]), issued, expired_client()] {
        assert_eq!(TlsClient::with(&identity).scrape_status(server.address).await, Ok(200));
    }
    let server = Server::with_config(&dir.tls(&["client_auth_type: RequestClientCert"]));
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
    let identity = selfsigned_client(&["x"]);
    assert_eq!(TlsClient::with(&identity).scrape_status(server.address).await, Ok(200));
}

#[tokio::test]
async fn client_certificate_must_be_in_ca_file_or_issued_by_it() {
    let dir = ConfigDir::new();
    let listed = selfsigned_client(&["listed"]);
    let old = expired_client();
    let (ca, issued) = issued_client(&["issued"]);
    dir.write("ca.crt", &format!("{ca}{}{}", listed.certificate, old.certificate));
    let require = ["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"];
    let server = Server::with_config(&dir.tls(&require));
    for versions in [vec![&version::TLS13], vec![&version::TLS12]] {
        let with = |identity: &Identity| TlsClient {
            versions: versions.clone(),
            ..TlsClient::with(identity)
        };
        assert_eq!(with(&listed).scrape_status(server.address).await, Ok(200));
        assert_eq!(with(&issued).scrape_status(server.address).await, Ok(200));
        let refused = with(&selfsigned_client(&["other"])).scrape_status(server.address).await;
        assert!(refused.is_err(), "{refused:?}");
        let refused = with(&issued_client(&["issued"]).1).scrape_status(server.address).await;
        assert_eq!(refused, Err(AlertDescription::UnknownCA));
        let refused = with(&old).scrape_status(server.address).await;
        assert_eq!(refused, Err(AlertDescription::CertificateExpired));
    }
    let refused = TlsClient::default().scrape_status(server.address).await;
    assert_eq!(refused, Err(AlertDescription::CertificateRequired));
}

/// With `Connection: close`, the status of a scrape; 0 if the server rejects the connection.
async fn scrape(config: &Arc<ClientConfig>, address: SocketAddr) -> u16 {
    let scraped = async {
        let mut stream = connect(config, address).await?;
        stream.write_all(head("GET", "/metrics", &["Connection: close"]).as_bytes()).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await?;
        io::Result::Ok(parse(&read).status)
    };
    scraped.await.unwrap_or(0)
}

#[tokio::test]
async fn neither_session_nor_connection_outlives_certificate_or_ca() {
    let life = Duration::from_secs(4);
    let require = ["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"];
    let mut expiring = Vec::new();
    for versions in [vec![&version::TLS13], vec![&version::TLS12]] {
        for (ca_life, leaf_life) in [(HOUR, life), (life, HOUR)] {
            let dir = ConfigDir::new();
            let (ca, identity) = short_lived_client(ca_life, leaf_life);
            dir.write("ca.crt", &ca);
            let server = Server::with_config(&dir.tls(&require));
            let client = TlsClient { versions: versions.clone(), ..TlsClient::with(&identity) };
            let config = client.config();
            // the second one resumes the session, if the server allows that
            assert_eq!(scrape(&config, server.address).await, 200);
            assert_eq!(scrape(&config, server.address).await, 200);
            let open = connect(&config, server.address).await.unwrap();
            expiring.push((dir, server, config, open));
        }
    }
    tokio::time::sleep(life + Duration::from_secs(2)).await;
    for (_dir, server, config, open) in &mut expiring {
        assert_eq!(scrape(config, server.address).await, 0, "a new connection");
        let closed = tokio::time::timeout(Duration::from_secs(3), open.read(&mut [0; 64])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "an open connection: {closed:?}");
    }
}

#[tokio::test]
async fn client_certificates_are_rejected_without_ca_file() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.tls(&["client_auth_type: VerifyClientCertIfGiven"]));
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
    let refused = TlsClient::with(&selfsigned_client(&["x"])).scrape_status(server.address).await;
    assert_eq!(refused, Err(AlertDescription::UnknownCA));
    let server = Server::with_config(&dir.tls(&["client_auth_type: RequireAndVerifyClientCert"]));
    let refused = TlsClient::with(&issued_client(&["x"]).1).scrape_status(server.address).await;
    assert_eq!(refused, Err(AlertDescription::UnknownCA));
}

#[tokio::test]
async fn client_certificate_needs_allowed_san() {
    let dir = ConfigDir::new();
    let lines = ["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"];
    for name in
        ["scraper.example", "scraper@example.com", "192.0.2.7", "2001:db8::1", "spiffe://a/b"]
    {
        let (ca, client) = issued_client(&["other.example", name]);
        dir.write("ca.crt", &ca);
        let allowed = format!("client_allowed_sans: ['x', '{name}']");
        let server = Server::with_config(&dir.tls(&[lines[0], lines[1], &allowed]));
        assert_eq!(TlsClient::with(&client).scrape_status(server.address).await, Ok(200), "{name}");
        let allowed = "client_allowed_sans: ['x', 'scraper']";
        let server = Server::with_config(&dir.tls(&[lines[0], lines[1], allowed]));
        let refused = TlsClient::with(&client).scrape_status(server.address).await;
        assert_eq!(refused, Err(AlertDescription::BadCertificate), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_do_not_delay_scrapes_and_time_out() {
    let dir = ConfigDir::new();
    let limits = unit_exporter::http::Limits {
        handshake: Duration::from_secs(5),
        connections: 512,
        ..unit_exporter::http::Limits::default()
    };
    let server = Server::with_limits(&dir.tls(&[]), limits.clone());
    let mut half_open = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.unwrap();
        }
        half_open.push(stream);
    }
    let start = Instant::now();
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
    let took = start.elapsed();
    println!("with 300 half-open handshakes a scrape took {took:?}");
    assert!(took < limits.handshake, "the scrape waited for the timeouts: {took:?}");
    for stream in &mut half_open {
        let closed =
            tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 512])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    }
    println!("all closed after {:?}", start.elapsed());
}

#[tokio::test]
async fn http2_client_that_never_reads_is_disconnected() {
    let dir = ConfigDir::new();
    let limits = unit_exporter::http::Limits {
        response: Duration::from_secs(1),
        ..unit_exporter::http::Limits::default()
    };
    let server = Server::with_page(&dir.tls(&[]), limits, crate::scripted_server::large_page());
    let client = TlsClient { alpn: vec!["h2"], ..TlsClient::default() };
    let stream = client.connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let ended = tokio::spawn(connection);
    let mut unread = Vec::new();
    for _ in 0..3 {
        let request = hyper::Request::builder()
            .uri("https://localhost/metrics")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        sender.ready().await.unwrap();
        unread.push(sender.send_request(request).await.unwrap());
    }
    let start = Instant::now();
    let _ = tokio::time::timeout(Duration::from_secs(10), ended).await.expect("still connected");
    println!("disconnected after {:?}", start.elapsed());
}

#[tokio::test]
async fn tls13_is_preferred_by_default() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.tls(&[]));
    let (suite, version) = TlsClient::default().negotiated(server.address).await.unwrap();
    assert_eq!(version, ProtocolVersion::TLSv1_3);
    assert_eq!(suite, CipherSuite::TLS13_AES_256_GCM_SHA384);
    assert!(aws_lc_rs::default_provider().kx_groups.len() >= 3);
}
