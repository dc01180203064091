//! TLS as the configuration file wants it.

use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group};
use rustls::{AlertDescription, CipherSuite, ProtocolVersion, SupportedCipherSuite, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{Folder, Identity, expired_client, issued_client, selfsigned_client};
use crate::client::{exchange, get, head};
use crate::secure::Client;
use crate::site::Server;

fn speaking(suites: &[SupportedCipherSuite]) -> Client {
    let mut client = Client { versions: vec![&version::TLS12], ..Client::default() };
    client.provider.cipher_suites = suites.to_vec();
    client
}

#[tokio::test]
async fn tls_is_spoken_with_files_and_with_inline_text() {
    let folder = Folder::new();
    let server = Server::configured(&folder.tls(&[]));
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
    let indent = |text: String| text.replace('\n', "\n    ");
    let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n",
        indent(read("server.crt")),
        indent(read("server.key"))
    );
    let server = Server::configured(&folder.write("inline.yml", &text));
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_told_so() {
    let folder = Folder::new();
    let server = Server::configured(&folder.tls(&[]));
    let answer = exchange(server.address, head("GET", "/metrics", &[]).as_bytes()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text(), "Client sent an HTTP request to an HTTPS server.\n");
    assert!(server.script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn tls_on_the_plain_port_is_no_http() {
    let server = Server::plain();
    assert!(Client::default().connect(server.address).await.is_err());
    assert_eq!(get(server.address, "/metrics").await.status, 200);
}

#[tokio::test]
async fn old_versions_are_refused_and_the_configured_ones_spoken() {
    let folder = Folder::new();
    let server = Server::configured(&folder.tls(&[]));
    // a hello that knows nothing above TLS 1.1
    let hello = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x02\
        0123456789abcdef0123456789abcdef\x00\x00\x02\xc0\x09\x01\x00";
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert.first(), Some(&0x15), "an alert: {alert:?}");
    let old = Client { versions: vec![&version::TLS12], ..Client::default() };
    let new = Client { versions: vec![&version::TLS13], ..Client::default() };
    for (line, with_old, with_new) in [
        ("min_version: TLS12", true, true),
        ("min_version: TLS13", false, true),
        ("max_version: TLS12", true, false),
        ("min_version: TLS10", true, true),
    ] {
        let server = Server::configured(&folder.tls(&[line]));
        let spoken = old.outcome(server.address).await;
        assert_eq!(spoken.is_ok(), with_old, "{line}: {spoken:?}");
        let spoken = new.outcome(server.address).await;
        assert_eq!(spoken.is_ok(), with_new, "{line}: {spoken:?}");
    }
}

#[tokio::test]
async fn suites_are_those_configured() {
    let folder = Folder::new();
    let all = "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_256_CBC_SHA, \
               TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, \
               TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
               TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305]";
    let server = Server::configured(&folder.tls(&[all]));
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
    let some = "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]";
    let server = Server::configured(&folder.tls(&[some]));
    let known = speaking(&[suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]);
    assert_eq!(known.outcome(server.address).await, Ok(200));
    let other = speaking(&[suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]);
    let refused = other.outcome(server.address).await;
    assert_eq!(refused, Err(AlertDescription::HandshakeFailure));
}

#[tokio::test]
async fn the_order_of_suites_is_the_servers_unless_configured_otherwise() {
    let folder = Folder::new();
    let suites = "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
                  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]";
    let aes = suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let chacha = suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    for (lines, expected) in [
        (&[suites] as &[_], [aes, aes]),
        (&[suites, "prefer_server_cipher_suites: false"], [aes, chacha]),
    ] {
        let server = Server::configured(&folder.tls(lines));
        let first = speaking(&[aes, chacha]).agreement(server.address).await.unwrap().0;
        let second = speaking(&[chacha, aes]).agreement(server.address).await.unwrap().0;
        assert_eq!([first, second], expected.map(|suite| suite.suite()), "{lines:?}");
    }
}

#[tokio::test]
async fn curves_are_those_configured() {
    let folder = Folder::new();
    let all = "curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]";
    let server = Server::configured(&folder.tls(&[all]));
    let with = |group| {
        let mut client = Client::default();
        client.provider.kx_groups = vec![group];
        client
    };
    for group in [kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519] {
        assert_eq!(with(group).outcome(server.address).await, Ok(200), "{group:?}");
    }
    let server = Server::configured(&folder.tls(&["curve_preferences: [CurveP521]"]));
    let refused = with(kx_group::SECP384R1).outcome(server.address).await;
    assert_eq!(refused, Err(AlertDescription::HandshakeFailure));
}

/// What the Rust client cannot say itself is said by OpenSSL.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_agrees_on_p521_and_not_on_cbc() {
    let folder = Folder::new();
    let server = Server::configured(&folder.tls(&["curve_preferences: [CurveP521]"]));
    for version in ["-tls1_3", "-tls1_2"] {
        let said = openssl(server.address.port(), &[version, "-groups", "P-521"]).await;
        assert!(said.contains("BEGIN CERTIFICATE"), "{version}: {said}");
    }
    let said = openssl(server.address.port(), &["-groups", "P-384"]).await;
    assert!(!said.contains("BEGIN CERTIFICATE"), "{said}");
    let server = Server::configured(&folder.tls(&[]));
    let cbc = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"];
    let said = openssl(server.address.port(), &cbc).await;
    assert!(said.contains("handshake failure"), "{said}");
}

#[expect(clippy::disallowed_types, reason = "another implementation of TLS is the judge here")]
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
async fn http2_is_offered_unless_switched_off() {
    let folder = Folder::new();
    let client = Client { alpn: vec!["h2", "http/1.1"], ..Client::default() };
    let server = Server::configured(&folder.tls(&[]));
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
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (status, hyper::Version::HTTP_2));
        let length = answer.headers().get("content-length").cloned();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        if method == "GET" {
            assert_eq!(length, Some(HeaderValue::from(body.len())));
        } else if method == "HEAD" {
            assert!(body.is_empty());
        }
    }
    let text = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n\
                http_server_config: {http2: false}\n";
    let server = Server::configured(&folder.write("web.yml", text));
    let stream = client.connect(server.address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(client.outcome(server.address).await, Ok(200));
}

#[tokio::test]
async fn any_client_certificate_will_do_where_none_is_verified() {
    let folder = Folder::new();
    let server = Server::configured(&folder.tls(&["client_auth_type: RequireAnyClientCert"]));
    let refused = Client::default().outcome(server.address).await;
    assert_eq!(refused, Err(AlertDescription::CertificateRequired));
    let (_, issued) = issued_client(&["x"]);
    for identity in [selfsigned_client(&["x"]), issued, expired_client()] {
        assert_eq!(Client::with(&identity).outcome(server.address).await, Ok(200));
    }
    let server = Server::configured(&folder.tls(&["client_auth_type: RequestClientCert"]));
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
    let identity = selfsigned_client(&["x"]);
    assert_eq!(Client::with(&identity).outcome(server.address).await, Ok(200));
}

#[tokio::test]
async fn verified_client_certificates_are_in_the_file_or_issued_by_it() {
    let folder = Folder::new();
    let listed = selfsigned_client(&["listed"]);
    let old = expired_client();
    let (ca, issued) = issued_client(&["issued"]);
    folder.write("ca.crt", &format!("{ca}{}{}", listed.certificate, old.certificate));
    let require = ["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"];
    let server = Server::configured(&folder.tls(&require));
    for versions in [vec![&version::TLS13], vec![&version::TLS12]] {
        let with =
            |identity: &Identity| Client { versions: versions.clone(), ..Client::with(identity) };
        assert_eq!(with(&listed).outcome(server.address).await, Ok(200));
        assert_eq!(with(&issued).outcome(server.address).await, Ok(200));
        let refused = with(&selfsigned_client(&["other"])).outcome(server.address).await;
        assert!(refused.is_err(), "{refused:?}");
        let refused = with(&issued_client(&["issued"]).1).outcome(server.address).await;
        assert_eq!(refused, Err(AlertDescription::UnknownCA));
        let refused = with(&old).outcome(server.address).await;
        assert_eq!(refused, Err(AlertDescription::CertificateExpired));
    }
    let refused = Client::default().outcome(server.address).await;
    assert_eq!(refused, Err(AlertDescription::CertificateRequired));
}

#[tokio::test]
async fn without_a_ca_no_client_certificate_is_accepted() {
    let folder = Folder::new();
    let server = Server::configured(&folder.tls(&["client_auth_type: VerifyClientCertIfGiven"]));
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
    let refused = Client::with(&selfsigned_client(&["x"])).outcome(server.address).await;
    assert_eq!(refused, Err(AlertDescription::UnknownCA));
    let server = Server::configured(&folder.tls(&["client_auth_type: RequireAndVerifyClientCert"]));
    let refused = Client::with(&issued_client(&["x"]).1).outcome(server.address).await;
    assert_eq!(refused, Err(AlertDescription::UnknownCA));
}

#[tokio::test]
async fn a_client_certificate_needs_an_allowed_name() {
    let folder = Folder::new();
    let lines = ["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"];
    for name in
        ["scraper.example", "scraper@example.com", "192.0.2.7", "2001:db8::1", "spiffe://a/b"]
    {
        let (ca, client) = issued_client(&["other.example", name]);
        folder.write("ca.crt", &ca);
        let allowed = format!("client_allowed_sans: ['x', '{name}']");
        let server = Server::configured(&folder.tls(&[lines[0], lines[1], &allowed]));
        assert_eq!(Client::with(&client).outcome(server.address).await, Ok(200), "{name}");
        let allowed = "client_allowed_sans: ['x', 'scraper']";
        let server = Server::configured(&folder.tls(&[lines[0], lines[1], allowed]));
        let refused = Client::with(&client).outcome(server.address).await;
        assert_eq!(refused, Err(AlertDescription::BadCertificate), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_neither_delay_a_scrape_nor_stay() {
    let folder = Folder::new();
    let limits = unit_exporter::http::Limits {
        handshake: Duration::from_secs(5),
        ..unit_exporter::http::Limits::default()
    };
    let server = Server::limited(&folder.tls(&[]), limits.clone());
    let mut half_open = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.unwrap();
        }
        half_open.push(stream);
    }
    let start = Instant::now();
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
    let answered = start.elapsed();
    println!("with 300 half-open handshakes a scrape took {answered:?}");
    assert!(answered < limits.handshake, "answered before they were freed: {answered:?}");
    for stream in &mut half_open {
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 512])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }
    println!("all were freed after {:?}", start.elapsed());
}

#[tokio::test]
async fn an_http2_client_that_never_reads_is_dropped_too() {
    let folder = Folder::new();
    let limits = unit_exporter::http::Limits {
        answer: Duration::from_secs(1),
        ..unit_exporter::http::Limits::default()
    };
    let server = Server::secured(&folder.tls(&[]), limits, crate::site::large_page());
    let client = Client { alpn: vec!["h2"], ..Client::default() };
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
    println!("dropped after {:?}", start.elapsed());
}

#[tokio::test]
async fn tls13_is_preferred_with_its_own_suites() {
    let folder = Folder::new();
    let server = Server::configured(&folder.tls(&[]));
    let (suite, version) = Client::default().agreement(server.address).await.unwrap();
    assert_eq!(version, ProtocolVersion::TLSv1_3);
    assert_eq!(suite, CipherSuite::TLS13_AES_256_GCM_SHA384);
    assert!(aws_lc_rs::default_provider().kx_groups.len() >= 3);
}
