//! The web configuration file: validation at startup, and changes at run time.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use unit_exporter::http::{LiveConfig, ServerOptions};

use crate::certificates::{ConfigDir, issued_client, server_identity};
use crate::client::{get, request};
use crate::scripted_server::{PAGE, Script, Server};
use crate::tls_client::TlsClient;

#[test]
fn invalid_configuration_is_rejected_with_reason() {
    let dir = ConfigDir::new();
    let other = server_identity();
    dir.write("other.key", &other.key);
    dir.write("junk.pem", "junk");
    dir.write("truncated.pem", &other.certificate[..200]);
    dir.write("empty.pem", "");
    dir.write("large.pem", &" ".repeat(2 << 20));
    std::fs::create_dir(dir.path().join("directory")).unwrap();
    let tls = |certificate: &str, key: &str, more: &str| {
        format!("tls_server_config: {{cert_file: '{certificate}', key_file: '{key}'{more}}}")
    };
    let ca = |file: &str| {
        let more =
            format!(", client_auth_type: RequireAndVerifyClientCert, client_ca_file: {file}");
        tls("server.crt", "server.key", &more)
    };
    for (text, expected) in [
        ("hWkNKRkXfGGHBqtG".to_owned(), "yaml"),
        ("tls_server_config: {cert_filse: x}".to_owned(), "yaml"),
        (tls("", "server.key", ""), "missing one of cert or cert_file"),
        (tls("server.crt", "", ""), "missing one of key or key_file"),
        (
            tls("", "", ", client_auth_type: RequireAnyClientCert"),
            "missing one of cert or cert_file",
        ),
        (tls("somefile", "server.key", ""), "No such file"),
        (tls("server.crt", "somefile", ""), "No such file"),
        (tls("somefile", "somefile", ""), "No such file"),
        (tls("server.crt", "other.key", ""), "certificate and key"),
        (tls("junk.pem", "server.key", ""), "contains no certificate"),
        (tls("empty.pem", "server.key", ""), "contains no certificate"),
        (tls("truncated.pem", "server.key", ""), "certificate"),
        (tls("server.crt", "junk.pem", ""), "contains no private key"),
        (tls("directory", "server.key", ""), "not a regular file"),
        (tls("large.pem", "server.key", ""), "larger than 1 MiB"),
        (tls("server.crt", "server.key", ", client_ca_file: server.crt"), "Client Auth Policy"),
        (ca("somefile"), "No such file"),
        (ca("junk.pem"), "contains no certificate"),
        (ca("truncated.pem"), "certificate"),
        ("basic_auth_users: {x: short}".to_owned(), "not a bcrypt hash"),
    ] {
        let path = dir.write("web.yml", &text);
        let error = LiveConfig::open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = LiveConfig::open(Path::new("/somefile")).unwrap_err().to_string();
    assert_eq!(error, "/somefile: No such file or directory (os error 2)");
}

#[tokio::test]
async fn empty_configuration_serves_plain_http() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.write("web.yml", ""));
    assert_eq!(get(server.address, "/metrics").await.status, 200);
}

#[tokio::test]
async fn configured_headers_are_on_every_response() {
    let dir = ConfigDir::new();
    let hash = unit_exporter::cli::hash_password(b"x", 4).unwrap();
    let text = format!(
        "http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=31536000\n    \
         X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1\n    \
         Content-Security-Policy: default-src 'self'\nbasic_auth_users:\n  dave: {hash}\n"
    );
    let server = Server::with_config(&dir.write("web.yml", &text));
    let login = "Authorization: Basic ZGF2ZTp4";
    for (path, lines, status) in [
        ("/", &["Connection: close", login] as &[_], 200),
        ("/nope", &["Connection: close", login], 404),
        ("/nope", &["Connection: close"], 401),
    ] {
        let response = request(server.address, "GET", path, lines).await;
        assert_eq!(response.status, status);
        assert_eq!(response.header("strict-transport-security"), "max-age=31536000");
        assert_eq!(response.header("x-frame-options"), "deny");
        assert_eq!(response.header("x-content-type-options"), "nosniff");
        assert_eq!(response.header("x-xss-protection"), "1");
        assert_eq!(response.header("content-security-policy"), "default-src 'self'");
    }
}

#[tokio::test]
async fn requests_over_rate_limit_get_429() {
    let dir = ConfigDir::new();
    for (limit, expected) in [
        ("{interval: 1us, burst: 5}", [200; 11]),
        ("{interval: 1s, burst: 0}", [429; 11]),
        ("{interval: 1m, burst: 3}", [200, 200, 200, 429, 429, 429, 429, 429, 429, 429, 429]),
        ("{interval: 0s, burst: 0}", [200; 11]),
    ] {
        let path = dir.write("web.yml", &format!("rate_limit: {limit}\n"));
        let server = Server::with_config(&path);
        for status in expected {
            let response = get(server.address, "/").await;
            assert_eq!(response.status, status, "{limit}");
            assert_eq!(response.text() == "Too Many Requests\n", status == 429);
        }
    }
}

#[tokio::test]
async fn config_change_applies_at_once_and_closes_old_connections() {
    let dir = ConfigDir::new();
    let (ca, client) = issued_client(&["x"]);
    dir.write("ca.crt", &ca);
    let path = dir.tls(&["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"]);
    let server = Server::with_config(&path);
    assert!(TlsClient::default().scrape_status(server.address).await.is_err());
    let mut old = TlsClient::with(&client).connect(server.address).await.unwrap();
    dir.tls(&[]);
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
    // connections accepted under the old configuration are closed
    let mut buffer = [0; 16];
    let read = tokio::time::timeout(std::time::Duration::from_secs(3), old.read(&mut buffer));
    assert!(matches!(read.await, Ok(Ok(0) | Err(_))));
    dir.write("web.yml", "tls_server_config: {cert_file: nowhere");
    assert!(TlsClient::default().get(server.address, "/metrics").await.is_err());
    assert!(TlsClient::default().get(server.address, "/metrics").await.is_err());
    dir.tls(&[]);
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
}

#[tokio::test]
async fn certificate_change_never_serves_mismatched_pair() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.tls(&[]));
    let first = TlsClient::default().server_certificate(server.address).await.unwrap();
    let new = server_identity();
    for half in [&new.certificate[..100], &new.certificate] {
        dir.write("server.crt", half);
        assert_eq!(TlsClient::default().server_certificate(server.address).await.unwrap(), first);
        assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
    }
    std::fs::remove_file(dir.path().join("server.key")).unwrap();
    assert_eq!(TlsClient::default().server_certificate(server.address).await.unwrap(), first);
    dir.write("server.key", &new.key);
    let presented = TlsClient::default().server_certificate(server.address).await.unwrap();
    assert_eq!(presented, new.chain()[0]);
    assert_eq!(TlsClient::default().scrape_status(server.address).await, Ok(200));
    // a new path has no previous pair to fall back on
    dir.write("web.yml", "tls_server_config: {cert_file: nowhere.crt, key_file: server.key}");
    assert!(TlsClient::default().connect(server.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn rewriting_files_in_place_neither_loses_handshakes_nor_opens_access() {
    let dir = Arc::new(ConfigDir::new());
    let hash = unit_exporter::cli::hash_password(b"x", 4).unwrap();
    let (ca, client) = issued_client(&["x"]);
    dir.write("ca.crt", &ca);
    let verify = ["client_auth_type: VerifyClientCertIfGiven", "client_ca_file: ca.crt"];
    let text = std::fs::read_to_string(dir.tls(&verify)).unwrap();
    let text = format!("{text}basic_auth_users:\n  dave: {hash}\n");
    let server = Server::with_config(&dir.write("web.yml", &text));
    // on a busy machine the writer may pause for longer than the exporter waits
    let paused: Arc<Mutex<Option<Instant>>> = Arc::default();
    let rewriting = tokio::task::spawn_blocking({
        let (dir, paused) = (dir.clone(), paused.clone());
        move || {
            let mut rounds = 0;
            for _ in 0..20 {
                let new = server_identity();
                let mut has_paused = false;
                for (name, content) in [
                    ("web.yml", &text),
                    ("ca.crt", &ca),
                    ("server.crt", &new.certificate),
                    ("server.key", &new.key),
                ] {
                    let begun = Instant::now();
                    dir.rewrite(name, content);
                    if begun.elapsed() > LONGEST_REWRITE {
                        has_paused = true;
                        *paused.lock().unwrap() = Some(Instant::now());
                    }
                }
                std::thread::sleep(Duration::from_millis(300));
                rounds += u32::from(!has_paused);
                if rounds == 4 {
                    return rounds;
                }
            }
            rounds
        }
    });
    let login = "Authorization: Basic ZGF2ZTp4";
    let (mut scrapes, mut excused) = (0, 0);
    while !rewriting.is_finished() {
        for (lines, expected) in
            [(&["Connection: close", login][..], 200), (&["Connection: close"], 401)]
        {
            let client = TlsClient::with(&client);
            let response = client.request(server.address, "/metrics", lines).await;
            let status = response.map(|response| response.status);
            let status = status.map_err(|error| error.to_string());
            scrapes += 1;
            if status != Ok(expected) {
                // the end of a rewrite under way
                tokio::time::sleep(Duration::from_secs(1)).await;
                let paused = *paused.lock().unwrap();
                let was_paused = paused.is_some_and(|at| at.elapsed() < PAUSE_EFFECT);
                assert!(was_paused, "{scrapes}: {status:?} instead of {expected}");
                excused += 1;
            }
        }
    }
    let rounds = rewriting.await.unwrap();
    println!(
        "{scrapes} handshakes while four files were rewritten {rounds} times; {excused} after a pause of the writer"
    );
}

/// Less than the time without a change after which a rewritten file is read.
const LONGEST_REWRITE: Duration = Duration::from_millis(80);

/// How long an incomplete file may stay in force: as long as a rewrite may take, and a second of this test.
const PAUSE_EFFECT: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn missing_client_ca_rejects_all_clients() {
    let dir = ConfigDir::new();
    let (ca, client) = issued_client(&["x"]);
    dir.write("ca.crt", &ca);
    let path = dir.tls(&["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"]);
    let server = Server::with_config(&path);
    assert_eq!(TlsClient::with(&client).scrape_status(server.address).await, Ok(200));
    std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
    assert!(TlsClient::with(&client).connect(server.address).await.is_err());
    dir.write("ca.crt", &ca);
    assert_eq!(TlsClient::with(&client).scrape_status(server.address).await, Ok(200));
}

#[tokio::test]
async fn users_reload_and_invalid_config_rejects_all_requests() {
    let dir = ConfigDir::new();
    let path = dir.write("web.yml", "");
    let config = Arc::new(LiveConfig::open(&path).unwrap());
    let options = ServerOptions { config: config.clone(), ..ServerOptions::default() };
    let server = Server::start(Script { page: PAGE.into(), ..Script::default() }, options);
    assert_eq!(get(server.address, "/metrics").await.status, 200);
    let hash = unit_exporter::cli::hash_password(b"x", 4).unwrap();
    let users = format!("basic_auth_users:\n  dave: {hash}\n");
    dir.write("web.yml", &users);
    let login = ["Connection: close", "Authorization: Basic ZGF2ZTp4"];
    assert_eq!(get(server.address, "/metrics").await.status, 401);
    assert_eq!(request(server.address, "GET", "/metrics", &login).await.status, 200);
    for invalid in ["basic_auth_users:\n  dave: gone\n", "junk: {"] {
        dir.write("web.yml", invalid);
        let response = request(server.address, "GET", "/metrics", &login).await;
        assert_eq!((response.status, response.text()), (500, "Internal Server Error\n"));
        assert!(!config.is_valid());
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(request(server.address, "GET", "/metrics", &login).await.status, 500);
    dir.write("web.yml", &users);
    assert_eq!(request(server.address, "GET", "/metrics", &login).await.status, 200);
    assert!(config.is_valid());
    // the cached login is dropped together with the old hash
    let hash = unit_exporter::cli::hash_password(b"y", 4).unwrap();
    dir.write("web.yml", &format!("basic_auth_users:\n  dave: {hash}\n"));
    assert_eq!(request(server.address, "GET", "/metrics", &login).await.status, 401);
}

#[tokio::test]
async fn plaintext_connection_is_rejected_once_tls_is_enabled() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&dir.write("web.yml", ""));
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = crate::client::head("GET", "/metrics", &[]);
    let mut buffer = [0; 4096];
    for status in [200, 400] {
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert_eq!(crate::client::parse(&buffer[..read]).status, status);
        dir.tls(&[]);
    }
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
}
