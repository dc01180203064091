//! Configuration files: what is refused at the start, and what happens when they change.

use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use unit_exporter::http::{Options, Protection};

use crate::certificates::{Folder, issued_client, server};
use crate::client::{get, request};
use crate::secure::Client;
use crate::site::{PAGE, Script, Server};

#[test]
fn a_broken_configuration_is_refused_with_what_is_wrong() {
    let folder = Folder::new();
    let other = server();
    folder.write("other.key", &other.key);
    folder.write("junk.pem", "junk");
    folder.write("torn.pem", &other.certificate[..200]);
    folder.write("empty.pem", "");
    folder.write("large.pem", &" ".repeat(2 << 20));
    std::fs::create_dir(folder.path().join("folder")).unwrap();
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
        (tls("junk.pem", "server.key", ""), "no certificate in it"),
        (tls("empty.pem", "server.key", ""), "no certificate in it"),
        (tls("torn.pem", "server.key", ""), "certificate"),
        (tls("server.crt", "junk.pem", ""), "no private key in it"),
        (tls("folder", "server.key", ""), "not a regular file"),
        (tls("large.pem", "server.key", ""), "larger than 1 MiB"),
        (tls("server.crt", "server.key", ", client_ca_file: server.crt"), "Client Auth Policy"),
        (ca("somefile"), "No such file"),
        (ca("junk.pem"), "no certificate in it"),
        (ca("torn.pem"), "certificate"),
        ("basic_auth_users: {x: short}".to_owned(), "hashedSecret too short"),
    ] {
        let path = folder.write("web.yml", &text);
        let error = Protection::open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = Protection::open(Path::new("/somefile")).unwrap_err().to_string();
    assert_eq!(error, "/somefile: No such file or directory (os error 2)");
}

#[tokio::test]
async fn an_empty_file_is_plain_http() {
    let folder = Folder::new();
    let server = Server::configured(&folder.write("web.yml", ""));
    assert_eq!(get(server.address, "/metrics").await.status, 200);
}

#[tokio::test]
async fn headers_are_set_on_every_answer() {
    let folder = Folder::new();
    let hash = unit_exporter::cli::hash_password(b"x", 4).unwrap();
    let text = format!(
        "http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=31536000\n    \
         X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: 1\n    \
         Content-Security-Policy: default-src 'self'\nbasic_auth_users:\n  dave: {hash}\n"
    );
    let server = Server::configured(&folder.write("web.yml", &text));
    let login = "Authorization: Basic ZGF2ZTp4";
    for (path, lines, status) in [
        ("/", &["Connection: close", login] as &[_], 200),
        ("/nope", &["Connection: close", login], 404),
        ("/nope", &["Connection: close"], 401),
    ] {
        let answer = request(server.address, "GET", path, lines).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
        assert_eq!(answer.header("x-frame-options"), "deny");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-xss-protection"), "1");
        assert_eq!(answer.header("content-security-policy"), "default-src 'self'");
    }
}

#[tokio::test]
async fn the_rate_limit_comes_before_everything() {
    let folder = Folder::new();
    for (limit, expected) in [
        ("{interval: 1us, burst: 5}", [200; 11]),
        ("{interval: 1s, burst: 0}", [429; 11]),
        ("{interval: 1m, burst: 3}", [200, 200, 200, 429, 429, 429, 429, 429, 429, 429, 429]),
        ("{interval: 0s, burst: 0}", [200; 11]),
    ] {
        let path = folder.write("web.yml", &format!("rate_limit: {limit}\n"));
        let server = Server::configured(&path);
        for status in expected {
            let answer = get(server.address, "/").await;
            assert_eq!(answer.status, status, "{limit}");
            assert_eq!(answer.text() == "Too Many Requests\n", status == 429);
        }
    }
}

#[tokio::test]
async fn a_changed_configuration_holds_at_once() {
    let folder = Folder::new();
    let (ca, client) = issued_client(&["x"]);
    folder.write("ca.crt", &ca);
    let path =
        folder.tls(&["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"]);
    let server = Server::configured(&path);
    assert!(Client::default().outcome(server.address).await.is_err());
    let mut old = Client::with(&client).connect(server.address).await.unwrap();
    folder.tls(&[]);
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
    // who was let in by what no longer holds has to come again
    let mut buffer = [0; 16];
    let read = tokio::time::timeout(std::time::Duration::from_secs(3), old.read(&mut buffer));
    assert!(matches!(read.await, Ok(Ok(0) | Err(_))));
    folder.write("web.yml", "tls_server_config: {cert_file: nowhere");
    assert!(Client::default().get(server.address, "/metrics").await.is_err());
    assert!(Client::default().get(server.address, "/metrics").await.is_err());
    folder.tls(&[]);
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_moment_of_a_wrong_pair() {
    let folder = Folder::new();
    let server = Server::configured(&folder.tls(&[]));
    let first = Client::default().shown(server.address).await.unwrap();
    let new = crate::certificates::server();
    for half in [&new.certificate[..100], &new.certificate] {
        folder.write("server.crt", half);
        assert_eq!(Client::default().shown(server.address).await.unwrap(), first);
        assert_eq!(Client::default().outcome(server.address).await, Ok(200));
    }
    std::fs::remove_file(folder.path().join("server.key")).unwrap();
    assert_eq!(Client::default().shown(server.address).await.unwrap(), first);
    folder.write("server.key", &new.key);
    let shown = Client::default().shown(server.address).await.unwrap();
    assert_eq!(shown, new.chain()[0]);
    assert_eq!(Client::default().outcome(server.address).await, Ok(200));
    // another path is another matter: there is no old pair of it
    folder.write("web.yml", "tls_server_config: {cert_file: nowhere.crt, key_file: server.key}");
    assert!(Client::default().connect(server.address).await.is_err());
}

#[tokio::test]
async fn an_unusable_client_ca_lets_nobody_in() {
    let folder = Folder::new();
    let (ca, client) = issued_client(&["x"]);
    folder.write("ca.crt", &ca);
    let path =
        folder.tls(&["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt"]);
    let server = Server::configured(&path);
    assert_eq!(Client::with(&client).outcome(server.address).await, Ok(200));
    std::fs::remove_file(folder.path().join("ca.crt")).unwrap();
    assert!(Client::with(&client).connect(server.address).await.is_err());
    folder.write("ca.crt", &ca);
    assert_eq!(Client::with(&client).outcome(server.address).await, Ok(200));
}

#[tokio::test]
async fn users_appear_and_a_broken_or_absent_file_lets_nobody_in() {
    let folder = Folder::new();
    let path = folder.write("web.yml", "");
    let protection = Arc::new(Protection::open(&path).unwrap());
    let options = Options { protection: protection.clone(), ..Options::default() };
    let server = Server::start(Script { page: PAGE.into(), ..Script::default() }, options);
    assert_eq!(get(server.address, "/metrics").await.status, 200);
    let hash = unit_exporter::cli::hash_password(b"x", 4).unwrap();
    let users = format!("basic_auth_users:\n  dave: {hash}\n");
    folder.write("web.yml", &users);
    let login = ["Connection: close", "Authorization: Basic ZGF2ZTp4"];
    assert_eq!(get(server.address, "/metrics").await.status, 401);
    assert_eq!(request(server.address, "GET", "/metrics", &login).await.status, 200);
    for broken in ["basic_auth_users:\n  dave: gone\n", "junk: {"] {
        folder.write("web.yml", broken);
        let answer = request(server.address, "GET", "/metrics", &login).await;
        assert_eq!((answer.status, answer.text()), (500, "Internal Server Error\n"));
        assert!(!protection.is_intact());
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(request(server.address, "GET", "/metrics", &login).await.status, 500);
    folder.write("web.yml", &users);
    assert_eq!(request(server.address, "GET", "/metrics", &login).await.status, 200);
    assert!(protection.is_intact());
    // the old password is forgotten with the user that had it
    let hash = unit_exporter::cli::hash_password(b"y", 4).unwrap();
    folder.write("web.yml", &format!("basic_auth_users:\n  dave: {hash}\n"));
    assert_eq!(request(server.address, "GET", "/metrics", &login).await.status, 401);
}

#[tokio::test]
async fn once_there_is_tls_nothing_is_told_in_the_clear() {
    let folder = Folder::new();
    let server = Server::configured(&folder.write("web.yml", ""));
    let mut kept = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = crate::client::head("GET", "/metrics", &[]);
    let mut buffer = [0; 4096];
    for status in [200, 400] {
        tokio::io::AsyncWriteExt::write_all(&mut kept, head.as_bytes()).await.unwrap();
        let read = kept.read(&mut buffer).await.unwrap();
        assert_eq!(crate::client::parse(&buffer[..read]).status, status);
        folder.tls(&[]);
    }
    assert_eq!(kept.read(&mut buffer).await.unwrap(), 0);
}
