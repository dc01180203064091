//! Interoperability with curl, Prometheus and systemd's socket activation.
#![expect(clippy::disallowed_types, reason = "the tests run these programs")]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use unit_exporter::cli::hash_password;
use unit_exporter::metrics::Format;

use crate::certificates::ConfigDir;
use crate::client::get;
use crate::scripted_server::Server;
use crate::server_process::{CHILD_MARKER, ServerProcess};

#[tokio::test(flavor = "multi_thread")]
async fn curl_scrapes_http1_and_http2_with_gzip_and_basic_auth() {
    let dir = ConfigDir::new();
    let server = Server::with_config(&tls_and_basic_auth(&dir));
    let url = format!("https://{}/metrics", server.address);
    for (version, suffix) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
        let output = curl(&[version, "--compressed", "-u", "dave:dave123", &url]).await;
        assert!(output.ends_with(suffix), "{output}");
        assert!(output.contains("\nup 1\n"), "{output}");
    }
    assert!(curl(&["-u", "dave:bad", &url]).await.ends_with(" 401"));
    assert!(curl(&["-X", "DELETE", "-u", "dave:dave123", &url]).await.ends_with(" 405"));
    assert!(curl(&["-I", "--http2", "-u", "dave:dave123", &url]).await.ends_with("2 200"));
    let plain = format!("http://{}/metrics", server.address);
    let output = curl(&["--http0.9", &plain]).await;
    assert!(output.contains("Client sent an HTTP request to an HTTPS server."), "{output}");
}

/// The output of curl, followed by the HTTP version and the status.
async fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sk", "--max-time", "10", "-w", "%{http_version} %{http_code}"]);
    command.args(arguments);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.unwrap().expect("this test needs curl: apt-get install curl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_with_tls_and_basic_auth() {
    let dir = ConfigDir::new();
    let mut server = Server::with_config(&tls_and_basic_auth(&dir));
    server.open_metrics(b"# TYPE answer gauge\n# HELP answer To all.\nanswer 42\n# EOF\n");
    let prometheus = free_address();
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - job_name: test\n  scheme: https\n  tls_config: {{insecure_skip_verify: true}}\n  \
         basic_auth: {{username: dave, password: dave123}}\n  \
         static_configs: [{{targets: ['{}']}}]\n",
        server.address
    );
    let config = dir.write("prometheus.yml", &text);
    let _prometheus = KillOnDrop(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={prometheus}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs Prometheus: apt-get install prometheus"),
    );
    let start = Instant::now();
    loop {
        if tokio::net::TcpStream::connect(prometheus).await.is_ok() {
            let response = get(prometheus, "/api/v1/query?query=answer").await;
            if response.status == 200 && response.text().contains("\"42\"") {
                break;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(60), "Prometheus has not stored the sample");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let targets = get(prometheus, "/api/v1/targets").await;
    assert!(targets.text().contains("\"lastError\":\"\""), "{}", targets.text());
    let scrapes = server.script.scrapes.lock().unwrap();
    let first = scrapes.first().unwrap();
    assert_eq!(first.format, Format::OpenMetrics);
    assert_eq!(first.timeout, Some(Duration::from_millis(100)));
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_sockets_passed_by_systemd() {
    let address = free_address();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &address.to_string(), "-E", &format!("{CHILD_MARKER}=1")]);
    // systemd starts the server on the first connection
    let first_connection = tokio::spawn(async move {
        let start = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "nothing listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let process =
        tokio::task::spawn_blocking(move || ServerProcess::start_through(command)).await.unwrap();
    first_connection.await.unwrap();
    assert_eq!(process.address, address);
    assert_eq!(get(address, "/metrics").await.status, 200);
}

fn tls_and_basic_auth(dir: &ConfigDir) -> std::path::PathBuf {
    let hash = hash_password(b"dave123", 5).unwrap();
    dir.write(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n\
             basic_auth_users:\n  dave: {hash}\n"
        ),
    )
}

/// An address without a listener. Another process could take the port before the test uses it; no
/// test does.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn open_metrics(&mut self, page: &'static [u8]) {
        *self.script.open_metrics.lock().unwrap() = Some(Bytes::from_static(page));
    }
}
