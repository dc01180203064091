//! Basic authentication: accepted credentials, and its latency during a brute-force attack.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::task::JoinSet;
use unit_exporter::cli::hash_password;
use unit_exporter::http::Limits;

use crate::certificates::ConfigDir;
use crate::client::{Response, get, request};
use crate::scripted_server::Server;

fn write_users(dir: &ConfigDir, cost: u32, users: &[(&str, &str)]) -> PathBuf {
    let hash = |password: &str| hash_password(password.as_bytes(), cost).unwrap();
    let lines: String =
        users.iter().map(|(user, password)| format!("  {user}: {}\n", hash(password))).collect();
    dir.write("web.yml", &format!("basic_auth_users:\n{lines}"))
}

async fn login(address: SocketAddr, path: &str, credentials: &str) -> Response {
    let line = format!("Authorization: Basic {}", BASE64_STANDARD.encode(credentials));
    request(address, "GET", path, &[&line, "Connection: close"]).await
}

#[tokio::test]
async fn only_configured_users_with_right_password_are_admitted() {
    let dir = ConfigDir::new();
    let path =
        write_users(&dir, 10, &[("alice", "alice123"), ("dave", "dave123"), ("carol", "carol123")]);
    let server = Server::with_config(&path);
    let anonymous = get(server.address, "/metrics").await;
    assert_eq!((anonymous.status, anonymous.header("www-authenticate")), (401, "Basic"));
    let long = "x".repeat(100);
    for (credentials, path, status) in [
        ("dave:dave123", "/metrics", 200),
        ("carol:carol123", "/metrics", 200),
        ("dave:carol123", "/metrics", 401),
        ("dave:bad", "/metrics", 401),
        ("nonexistent:x", "/metrics", 401),
        ("nonexistent:x", "/metrics", 401),
        ("dave:dave123", "/nope", 404),
        ("dave:bad", "/nope", 401),
        ("dave:bad", "/-/healthy", 401),
        (&format!("dave:{long}"), "/metrics", 401),
    ] {
        assert_eq!(login(server.address, path, credentials).await.status, status, "{credentials}");
    }
    for line in ["Authorization: Basic !!!", "Authorization: Bearer ZGF2ZTpkYXZlMTIz"] {
        let response =
            request(server.address, "GET", "/metrics", &[line, "Connection: close"]).await;
        assert_eq!(response.status, 401, "{line}");
    }
    let line = "Authorization: basic ZGF2ZTpkYXZlMTIz";
    let response = request(server.address, "GET", "/metrics", &[line, "Connection: close"]).await;
    assert_eq!(response.status, 200);
}

/// CVE-2022-46146: the cache entry of one login must not admit another.
#[tokio::test]
async fn cached_login_cannot_be_forged_from_user_and_hash() {
    let dir = ConfigDir::new();
    let path = write_users(&dir, 4, &[("alice", "alice123")]);
    let server = Server::with_config(&path);
    let text = std::fs::read_to_string(&path).unwrap();
    let hash = text.lines().last().unwrap().trim().strip_prefix("alice: ").unwrap().to_owned();
    for _ in 0..2 {
        let forged = format!("alice{hash}:fakepassword");
        assert_eq!(login(server.address, "/", &forged).await.status, 401);
        let forged = format!("alice:{hash}fakepassword");
        assert_eq!(login(server.address, "/", &forged).await.status, 401);
        assert_eq!(login(server.address, "/", "alice:fakepassword").await.status, 401);
        assert_eq!(login(server.address, "/", "alice:alice123").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_logins_all_get_correct_status() {
    let dir = ConfigDir::new();
    // all logins of one address at once, and their responses
    let limits = Limits { connections: 512, requests: None, ..Limits::default() };
    let server = Server::with_limits(&write_users(&dir, 12, &[("dave", "dave123")]), limits);
    let address = server.address;
    let mut logins = JoinSet::new();
    for n in 0..300 {
        logins.spawn(async move {
            let right = n % 2 == 0;
            let credentials = if right { "dave:dave123" } else { "dave:bad" };
            (right, login(address, "/", credentials).await.status)
        });
    }
    let start = Instant::now();
    for (right, status) in logins.join_all().await {
        assert_eq!(status, if right { 200 } else { 401 });
    }
    println!("150 right and 150 wrong logins, cost 12: {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_login_stays_fast_during_brute_force() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&write_users(&dir, 12, &[("dave", "dave123")]));
    let address = server.address;
    let start = Instant::now();
    assert_eq!(login(address, "/metrics", "dave:dave123").await.status, 200);
    let uncached = start.elapsed();
    let stop = Arc::new(AtomicBool::new(false));
    let mut attack = JoinSet::new();
    for n in 0..60 {
        let stop = stop.clone();
        attack.spawn(async move {
            let mut statuses = Vec::new();
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let guess = format!("dave:guess {n} {round}");
                statuses.push(login(address, "/metrics", &guess).await.status);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            statuses
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut took = Vec::new();
    for _ in 0..40 {
        let start = Instant::now();
        assert_eq!(login(address, "/metrics", "dave:dave123").await.status, 200);
        took.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for status in attack.join_all().await.concat() {
        *statuses.entry(status).or_default() += 1;
    }
    took.sort_unstable();
    println!("uncached login: {uncached:?}");
    println!("cached logins during the attack: median {:?}, slowest {:?}", took[20], took[39]);
    println!("statuses of the attacker's requests: {statuses:?}");
    assert!(took[20] < uncached, "median {:?}", took[20]);
    assert!(statuses.keys().all(|status| [401, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains_key(&503), "no 503: the queue is not bounded");
}
