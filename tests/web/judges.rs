//! Programs that others wrote judge the server: curl, Prometheus, systemd's socket activation.
#![expect(clippy::disallowed_types, reason = "the other programs are what this is about")]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use unit_exporter::cli::hash_password;
use unit_exporter::metrics::Format;

use crate::certificates::Folder;
use crate::child::{STARTED, Served};
use crate::client::get;
use crate::site::Server;

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_the_page_over_both_protocols_compressed_and_with_a_password() {
    let folder = Folder::new();
    let server = Server::configured(&secured(&folder));
    let url = format!("https://{}/metrics", server.address);
    for (version, said) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
        let output = curl(&[version, "--compressed", "-u", "dave:dave123", &url]).await;
        assert!(output.ends_with(said), "{output}");
        assert!(output.contains("\nup 1\n"), "{output}");
    }
    assert!(curl(&["-u", "dave:bad", &url]).await.ends_with(" 401"));
    assert!(curl(&["-X", "DELETE", "-u", "dave:dave123", &url]).await.ends_with(" 405"));
    assert!(curl(&["-I", "--http2", "-u", "dave:dave123", &url]).await.ends_with("2 200"));
    let plain = format!("http://{}/metrics", server.address);
    let output = curl(&["--http0.9", &plain]).await;
    assert!(output.contains("Client sent an HTTP request to an HTTPS server."), "{output}");
}

/// What curl printed, with the version and the status at the end.
async fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sk", "--max-time", "10", "-w", "%{http_version} %{http_code}"]);
    command.args(arguments);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.unwrap().expect("this test needs curl: apt-get install curl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_with_tls_and_a_password() {
    let folder = Folder::new();
    let mut server = Server::configured(&secured(&folder));
    server.open_metrics(b"# TYPE answer gauge\n# HELP answer To all.\nanswer 42\n# EOF\n");
    let port = free_port();
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - job_name: judged\n  scheme: https\n  tls_config: {{insecure_skip_verify: true}}\n  \
         basic_auth: {{username: dave, password: dave123}}\n  \
         static_configs: [{{targets: ['{}']}}]\n",
        server.address
    );
    let config = folder.write("prometheus.yml", &text);
    let _prometheus = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs Prometheus: apt-get install prometheus"),
    );
    let start = Instant::now();
    loop {
        let query = tokio::net::TcpStream::connect(port).await;
        if query.is_ok() {
            let answer = get(port, "/api/v1/query?query=answer").await;
            if answer.status == 200 && answer.text().contains("\"42\"") {
                break;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(60), "Prometheus never had the sample");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let targets = get(port, "/api/v1/targets").await;
    assert!(targets.text().contains("\"lastError\":\"\""), "{}", targets.text());
    let asked = server.script.asked.lock().unwrap();
    let first = asked.first().unwrap();
    assert_eq!(first.format, Format::OpenMetrics);
    assert_eq!(first.timeout, Some(Duration::from_millis(100)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_systemd_passes_are_served() {
    let address = free_port();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &address.to_string(), "-E", &format!("{STARTED}=1")]);
    // systemd starts the server when somebody comes
    let visitor = tokio::spawn(async move {
        let start = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "nobody listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let served = tokio::task::spawn_blocking(move || Served::behind(command)).await.unwrap();
    visitor.await.unwrap();
    assert_eq!(served.address, address);
    assert_eq!(get(address, "/metrics").await.status, 200);
}

fn secured(folder: &Folder) -> std::path::PathBuf {
    let hash = hash_password(b"dave123", 5).unwrap();
    folder.write(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n\
             basic_auth_users:\n  dave: {hash}\n"
        ),
    )
}

/// An address on which nobody listens; somebody could before it is used, but nobody here does.
fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct Running(Child);

impl Drop for Running {
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
