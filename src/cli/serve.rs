//! Serves HTTP until a signal stops the process.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::args::Args;
use super::config_file::ConfigFile;
use super::watchdog::Watchdog;
use crate::app::Exporter;
use crate::http::{self, HttpListener, Limits, LiveConfig, Liveness, ServerOptions};
use crate::http_counts::HttpCounts;
use crate::scrape::Scraper;
use crate::sd_notify::Notify;
use crate::systemd::follow::Thread;

pub(super) async fn run(
    args: &Args,
    file: ConfigFile,
    exporter: Exporter,
    counts: Arc<HttpCounts>,
    follower: Thread,
) -> anyhow::Result<ExitCode> {
    for warning in args.ignored.warnings() {
        warn!("{warning}");
    }
    let config = match &args.web_config {
        Some(path) => LiveConfig::open(path)?,
        None => LiveConfig::default(),
    };
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let config = Arc::new(config);
    let max_requests = usize::from(args.max_requests);
    let options = ServerOptions {
        telemetry_path: args.telemetry_path.clone(),
        limits: Limits {
            // 0 disables the limit, as in systemd_exporter
            requests: (max_requests > 0).then_some(max_requests),
            ..Limits::default()
        },
        config: config.clone(),
        counts,
        liveness: Liveness::default(),
    };
    let notify = Arc::new(Notify::from_env().context("NOTIFY_SOCKET")?);
    let scraper = exporter.scraper().clone();
    let reload = Reload { args: args.clone(), file, scraper: exporter.scraper().clone(), config };
    let stop = stop_signal(notify.clone(), reload)?;
    let listeners = listen(args)?;
    // does not wait for the bus: it may start later, or never
    notify.ready();
    let (listeners_alive, watched) = (options.liveness.clone(), scraper.clone());
    tokio::spawn(Watchdog { listeners: listeners_alive, scraper: watched, follower }.run(notify));
    http::serve(listeners, exporter, options, stop).await;
    scraper.save_state_at_end().await;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn listen(args: &Args) -> anyhow::Result<Vec<HttpListener>> {
    if args.systemd_socket {
        let passed = HttpListener::passed().context("--web.systemd-socket")?;
        anyhow::ensure!(
            !passed.is_empty(),
            "--web.systemd-socket: systemd passed no socket; start the .socket unit, not the service"
        );
        for listener in &passed {
            let address = listener.address().map_or("unix".to_owned(), |ip| ip.to_string());
            info!(address, path = args.telemetry_path, "listening on a socket passed by systemd");
        }
        return Ok(passed);
    }
    let mut listeners = Vec::new();
    for address in &args.listen {
        listeners.extend(address.bind().context("failed to listen; is another exporter running?")?);
        info!(%address, path = args.telemetry_path, "listening");
    }
    Ok(listeners)
}

/// The state that SIGHUP reloads.
struct Reload {
    args: Args,
    /// The configuration file as read at the start: some settings need a restart.
    file: ConfigFile,
    scraper: Arc<Scraper>,
    config: Arc<LiveConfig>,
}

impl Reload {
    fn reload(&self) {
        let web = self.config.reload();
        if let Err(error) = &web {
            error!(%error, "SIGHUP: invalid web configuration; all requests are rejected until it is fixed");
        }
        let file = self.reload_config_file();
        if let Err(error) = &file {
            error!(
                error = format!("{error:#}"),
                "SIGHUP: invalid configuration file; the settings in use are kept"
            );
        }
        if web.is_ok() && file.is_ok() {
            info!("SIGHUP: reloaded");
        }
    }

    /// Replaces the expected units, instances and listeners; no counter is reset.
    fn reload_config_file(&self) -> anyhow::Result<()> {
        let Some(path) = &self.args.config_file else { return Ok(()) };
        let new = ConfigFile::read(path)?;
        let keys = self.file.restart_required(&new);
        if !keys.is_empty() {
            let keys = keys.join(",");
            warn!(keys, "SIGHUP: changed settings take effect after a restart");
        }
        let mut args = self.args.clone();
        args.expect(&new);
        self.scraper.expect(args.expected());
        Ok(())
    }
}

fn stop_signal(notify: Arc<Notify>, reload: Reload) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to handle SIGINT")?;
    // a reload must never end the process
    let mut hangup = signal(SignalKind::hangup()).context("failed to handle SIGHUP")?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    notify.reloading();
                    reload.reload();
                    notify.ready();
                }
            }
        }
        notify.stopping();
    })
}

/// The value of `--web.telemetry-path`.
pub(super) fn telemetry_path(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\"<>".contains(&byte);
    if !text.starts_with('/') || text.len() < 2 || !text.bytes().all(plain) {
        return Err("a path starts with / and contains no ?, # or %, e.g. /metrics".to_owned());
    }
    let reserved = ["/-/healthy", "/-/ready", "/reference"];
    let below = ["/api/", "/unit/"];
    if reserved.contains(&text) || below.iter().any(|path| text.starts_with(path)) {
        return Err("this path is reserved; choose another, e.g. /metrics".to_owned());
    }
    Ok(text.to_owned())
}
