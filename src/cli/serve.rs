//! Serves HTTP until a signal stops the process.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::args::Args;
use crate::app::Exporter;
use crate::http::{self, HttpListener, Limits, LiveConfig, Liveness, ServerOptions};
use crate::http_counts::HttpCounts;
use crate::scrape::Scraper;
use crate::sd_notify::Notify;

pub(super) async fn run(
    args: &Args,
    exporter: Exporter,
    counts: Arc<HttpCounts>,
) -> anyhow::Result<ExitCode> {
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
    let stop = stop_signal(notify.clone(), config)?;
    let listeners = listen(args)?;
    // does not wait for the bus: it may start later, or never
    notify.ready();
    tokio::spawn(keep_watchdog_alive(notify, options.liveness.clone(), exporter.scraper().clone()));
    http::serve(listeners, exporter, options, stop).await;
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
        return Ok(passed);
    }
    let mut listeners = Vec::new();
    for address in &args.listen {
        listeners.extend(address.bind().context("failed to listen; is another exporter running?")?);
        info!(%address, path = %args.telemetry_path, "listening");
    }
    Ok(listeners)
}

/// Sends the status text, and watchdog keep-alives while every listener accepts connections. It does
/// not depend on the bus or PID 1: if these hang, a restart of the exporter would not help.
async fn keep_watchdog_alive(notify: Arc<Notify>, liveness: Liveness, scraper: Arc<Scraper>) {
    let pause = notify.watchdog().map_or(STATUS_INTERVAL, |limit| STATUS_INTERVAL.min(limit / 3));
    let mut last_status = String::new();
    // the first status sooner: by then the units have been read
    tokio::time::sleep(pause / 10).await;
    loop {
        let status = scraper.summary();
        if status != last_status {
            notify.status(&status);
            last_status = status;
        }
        if liveness.check().await {
            notify.alive();
        } else {
            warn!(
                "self-check failed: a listener does not accept connections; the watchdog restarts the service if this persists"
            );
        }
        tokio::time::sleep(pause).await;
    }
}

fn stop_signal(
    notify: Arc<Notify>,
    config: Arc<LiveConfig>,
) -> anyhow::Result<impl Future<Output = ()>> {
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
                    match config.reload() {
                        Ok(()) => info!("SIGHUP: reloaded"),
                        Err(error) => error!(%error, "SIGHUP: invalid web configuration; all requests are rejected until it is fixed"),
                    }
                    notify.ready();
                }
            }
        }
        notify.stopping();
    })
}

/// How often the status text is sent to systemd, unless the watchdog needs it more often.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
