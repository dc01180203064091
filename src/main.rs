//! The `unit-exporter` program: flags → parts → serve until told to stop.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};
use unit_exporter::app::Exporter;
use unit_exporter::cli::args::{Action, Args, Level, LogFormat};
use unit_exporter::cli::check_host::{Asker, Report};
use unit_exporter::cli::{hash_password, read_password};
use unit_exporter::collector::Off;
use unit_exporter::html;
use unit_exporter::http;
use unit_exporter::http::{Listener, Protection, Pulse};
use unit_exporter::http_counts::Requests;
use unit_exporter::logging::{Flush, Log};
use unit_exporter::metrics::Format;
use unit_exporter::scrape::user_managers::follow::{Terms, Users};
use unit_exporter::scrape::{Host, Scraper};
use unit_exporter::sd_notify::Notify;
use unit_exporter::systemd::follow::{self, Place, Thread, follow};
use unit_exporter::systemd::ledger::{Keep, Ledger};
use unit_exporter::systemd::mirror::Mirror;
use unit_exporter::systemd::state::Shared;
use unit_exporter::systemd::unit::properties::Extras;
use unit_exporter::unit_filter::Selection;

fn main() -> ExitCode {
    let mut args = Args::parse();
    let checking = match &args.action {
        Some(Action::CheckHost { flags }) => {
            args = Args::to_check(flags);
            // the report says what would be logged
            args.log_level = Level::Error;
            true
        }
        _ => false,
    };
    let _flush = match log(&args) {
        Ok(flush) => flush,
        Err(error) => {
            // nowhere is left to complain
            let _ = writeln!(std::io::stderr(), "starting a thread for the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    keep_to_ourselves();
    if let Some(action) = &args.action {
        return ended(act(action));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        // every source has one, and a page; one that hangs must not make hundreds
        .max_blocking_threads(BLOCKING)
        // those of the first scrape stay: later, where a fork bomb runs, there may be none to be had
        .thread_keep_alive(Duration::MAX)
        .enable_all()
        .build();
    let outcome = runtime.context("starting threads").and_then(|runtime| {
        let outcome = runtime.block_on(run(&args, checking));
        // a source that hangs in the kernel does not keep the program
        runtime.shutdown_background();
        outcome
    });
    ended(outcome)
}

/// Passwords and keys are in memory: no core is dumped, and nobody but root traces this process,
/// though it be of the same user.
fn keep_to_ourselves() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "other processes of this user can read this one's memory");
    }
}

fn ended(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        error!("{error:#}");
        ExitCode::FAILURE
    })
}

async fn run(args: &Args, checking: bool) -> anyhow::Result<ExitCode> {
    let requests: Arc<Requests> = Arc::default();
    let off = args.off();
    let scraper = scraper(args, &off, requests.clone())?;
    if checking {
        return check_host(args, &off, &Arc::new(scraper)).await;
    }
    let exporter =
        Exporter::new(scraper, args.profile, off, args.max_series, args.telemetry_path.clone());
    if args.once {
        return once(&exporter).await;
    }
    serve(args, exporter, requests).await
}

/// Follows systemd from now on, and reads the rest when it is asked.
fn scraper(args: &Args, off: &Off, requests: Arc<Requests>) -> anyhow::Result<Scraper> {
    let selection = Selection::new(&args.unit_include, &args.unit_exclude)?;
    let keep = Keep {
        retired_for: args.keep_unloaded,
        retired: args.keep_unloaded_max,
        events: args.events,
    };
    let thread = Thread::start().context("starting a thread to follow systemd")?;
    let shared =
        Shared::new(Mirror::new(selection.clone()), Ledger::new(keep)).followed_on(&thread);
    let extras = Extras {
        conditions: !off.has("conditions"),
        files: !off.has("unit-files"),
        ..Extras::default()
    };
    let place = Place::Bus(args.manager_address());
    let options = follow::Options { place, resync: args.resync, extras };
    thread.spawn(follow(shared.clone(), options));
    let terms = Terms {
        selection: selection.clone(),
        keep,
        resync: args.resync,
        extras,
        thread,
        dbus_address: args.dbus_address.clone(),
    };
    let users = if off.has("users") { Users::default() } else { Users::watch(terms) };

    let host = Host {
        proc: args.procfs.clone(),
        cgroup: "/sys/fs/cgroup".into(),
        expected: args.expect_unit.iter().map(|name| name.as_str().into()).collect(),
        not_found: args.not_found,
        listeners: args.listeners.options(&args.procfs),
        dbus_address: args.dbus_address.clone(),
        journal: args.journal(selection),
        users,
    };
    let scraper = Scraper::new(shared, host, requests);
    if !off.has("journal") {
        tokio::spawn(scraper.follow_journal());
    }
    Ok(scraper)
}

async fn serve(
    args: &Args,
    exporter: Exporter,
    requests: Arc<Requests>,
) -> anyhow::Result<ExitCode> {
    let protection = match &args.web_config {
        Some(path) => Protection::open(path)?,
        None => Protection::default(),
    };
    for warning in protection.warnings() {
        warn!("{warning}");
    }
    let protection = Arc::new(protection);
    let options = http::Options {
        telemetry_path: args.telemetry_path.clone(),
        limits: http::Limits { requests: args.max_requests.into(), ..http::Limits::default() },
        protection: protection.clone(),
        requests,
        pulse: Pulse::default(),
    };
    let notify = Arc::new(Notify::from_env().context("NOTIFY_SOCKET")?);
    let stop = told_to_stop(notify.clone(), protection)?;
    let listeners = listen(args)?;
    // not when the bus has answered: it may come up later than this, or never
    notify.ready();
    tokio::spawn(attend(notify, options.pulse.clone(), exporter.scraper().clone()));
    http::serve(listeners, exporter, options, stop).await;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn listen(args: &Args) -> anyhow::Result<Vec<Listener>> {
    if args.systemd_socket {
        let passed = Listener::passed().context("--web.systemd-socket")?;
        anyhow::ensure!(
            !passed.is_empty(),
            "--web.systemd-socket: systemd passed no socket; start the .socket unit, not the service"
        );
        return Ok(passed);
    }
    let mut listeners = Vec::new();
    for address in &args.listen {
        listeners.extend(address.bind().context("cannot listen; is another exporter running?")?);
        info!(%address, path = %args.telemetry_path, "listening");
    }
    Ok(listeners)
}

/// Does what is asked instead of serving.
fn act(action: &Action) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match action {
        Action::CheckConfig { file } => {
            let protection = Protection::open(file)?;
            for warning in protection.warnings() {
                writeln!(stdout, "{}: {warning}", file.display())?;
            }
            writeln!(stdout, "{}: good", file.display())?;
        }
        Action::HashPassword { cost } => {
            let password = read_password().context("reading the password")?;
            writeln!(stdout, "{}", hash_password(&password, *cost)?)?;
        }
        // it needs all that serving needs
        Action::CheckHost { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints whether each collector works; success only if all that are on do.
async fn check_host(args: &Args, off: &Off, scraper: &Arc<Scraper>) -> anyhow::Result<ExitCode> {
    filled(scraper, FILL / 3).await;
    // what is followed from the start may have nothing to tell at the first look
    let without = off.and_left_out(&[], &[]).unwrap_or_default();
    scraper.scrape(&without).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let snapshot = scraper.scrape(&without).await.context("reading the host")?;
    let asker = Asker::here(&args.dbus_address);
    let mut report = Report::new(&snapshot, off, &html::Host::here(), &asker);
    if let Some(path) = &args.web_config {
        let good = format!("{}: good", path.display());
        report.config(Protection::open(path).map(|_| good).map_err(|error| error.to_string()));
    }
    write!(std::io::stdout(), "{report}").context("writing the report")?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until the units are known, but no longer than that.
async fn filled(scraper: &Scraper, limit: Duration) {
    let filled = async {
        while scraper.ready().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // after that the page says itself what is missing
    let _ = tokio::time::timeout(limit, filled).await;
}

/// Prints the page; success only if every collector answered.
async fn once(exporter: &Exporter) -> anyhow::Result<ExitCode> {
    filled(exporter.scraper(), FILL).await;
    let page = exporter.page(Format::Text, &[], &[], &[]).await?;
    std::io::stdout().write_all(&page).context("writing the page")?;
    let failed = exporter.scraper().failed();
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut stderr = std::io::stderr().lock();
    for (collector, error) in failed {
        // nowhere is left to complain
        let _ = writeln!(stderr, "{collector}: {error}");
    }
    Ok(ExitCode::FAILURE)
}

/// Gives systemd signs of life while connections are accepted, and tells it what there is to see.
/// The bus and PID 1 have no say in it: that they do not answer is no reason to be restarted.
async fn attend(notify: Arc<Notify>, pulse: Pulse, scraper: Arc<Scraper>) {
    let pause = notify.watchdog().map_or(ATTEND, |limit| ATTEND.min(limit / 3));
    let mut told = String::new();
    // sooner at first: by then there is something to see
    tokio::time::sleep(pause / 10).await;
    loop {
        let status = scraper.summary();
        if status != told {
            notify.status(&status);
            told = status;
        }
        if pulse.beats().await {
            notify.alive();
        } else {
            warn!("connections are not accepted; if that lasts, the watchdog ends this");
        }
        tokio::time::sleep(pause).await;
    }
}

fn told_to_stop(
    notify: Arc<Notify>,
    protection: Arc<Protection>,
) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
    // reloading must never be what ends it
    let mut hangup = signal(SignalKind::hangup()).context("catching SIGHUP")?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    notify.reloading();
                    match protection.reload() {
                        Ok(()) => info!("SIGHUP: reloaded"),
                        Err(error) => error!(%error, "SIGHUP: the web configuration is broken"),
                    }
                    notify.ready();
                }
            }
        }
        notify.stopping();
    })
}

fn log(args: &Args) -> std::io::Result<Flush> {
    let level = match args.log_level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    let log = Log::to(std::io::stderr())?;
    let flush = log.flush_at_end();
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(log.clone());
    match args.log_format {
        LogFormat::Json => lines.json().with_target(false).init(),
        LogFormat::Logfmt => {
            // journald has the time already
            let timestamps =
                std::env::var_os("JOURNAL_STREAM").is_none() || std::io::stderr().is_terminal();
            tracing_logfmt::builder()
                .with_target(false)
                .with_timestamp(timestamps)
                .subscriber_builder()
                .with_max_level(level)
                .with_writer(log)
                .init();
        }
    }
    // it would write to standard error itself, and wait
    std::panic::set_hook(Box::new(|panic| {
        error!(%panic, "a fault of the exporter; please report it");
    }));
    Ok(flush)
}

/// One for the follower, one for the web: neither has much to do.
const WORKERS: usize = 2;

const BLOCKING: usize = 16;

/// How often systemd is told how it goes, at the least.
const ATTEND: Duration = Duration::from_secs(10);

/// How long `--once` waits for the first filling of the mirror.
const FILL: Duration = Duration::from_secs(30);
