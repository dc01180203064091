//! The command line: the flags, and a file for each command.

pub mod args;
mod check_files;
pub mod check_host;
mod collector_args;
pub mod commands;
pub mod config_file;
mod hash_password;
mod once;
mod serve;
mod state;
mod watchdog;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing::{error, info, warn};

use crate::app::Exporter;
use crate::bus::BusAddress;
use crate::collector::{Disabled, SelectedMetrics};
use crate::http_counts::HttpCounts;
use crate::logging::{self, Level};
use crate::scrape::user_managers::follow::{UserManagerConfig, UserManagers};
use crate::scrape::{ScrapeConfig, Scraper};
use crate::source::journal::JournalOptions;
use crate::systemd::follow::{
    CONTROL_DIRECTORIES, FollowOptions, Thread, UNIT_DIRECTORIES, follow,
};
use crate::systemd::ledger::{Ledger, Retention};
use crate::systemd::mirror::Mirror;
use crate::systemd::state::Shared;
use crate::systemd::unit::properties::Extras;
use crate::unit_filter::Selection;
use args::Args;
use commands::{Action, Check};
use config_file::ConfigFile;
pub use hash_password::{BadPassword, hash_password, read_password};

/// Runs the command that the arguments name. Errors go to the log.
#[must_use]
pub fn run(mut args: Args) -> ExitCode {
    let host_check = match &args.action {
        Some(Action::CheckHost { flags } | Action::Check(Check::Host { flags })) => Some(flags),
        _ => None,
    };
    let is_check = host_check.is_some();
    if let Some(flags) = host_check {
        args = Args::to_check(flags);
        // the report contains everything below this level
        args.log_level = Level::Error;
    }
    let _flush = logging::init(args.log_level, args.log_format);
    disable_core_dumps_and_ptrace();
    let outcome = match &args.action {
        Some(Action::Check(Check::Config { file })) => check_files::config(file),
        Some(Action::Check(Check::WebConfig { file }) | Action::CheckConfig { file }) => {
            check_files::web_config(file)
        }
        Some(Action::HashPassword { cost }) => hash_password::run(*cost),
        Some(Action::CheckHost { .. } | Action::Check(Check::Host { .. })) | None => {
            read_config_file(&mut args).and_then(|file| on_runtime(&args, file, is_check))
        }
    };
    outcome.unwrap_or_else(|error| {
        error!("{error:#}");
        ExitCode::FAILURE
    })
}

/// The file of `--config.file`; empty without that flag. Its settings are applied to `args`.
fn read_config_file(args: &mut Args) -> anyhow::Result<ConfigFile> {
    let Some(path) = &args.config_file else { return Ok(ConfigFile::default()) };
    let file = ConfigFile::read(path)?;
    args.apply(&file);
    Ok(file)
}

/// Passwords and keys are in memory: the kernel writes no core dump, and only root can trace this
/// process, even from the same user.
fn disable_core_dumps_and_ptrace() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "failed to disable core dumps and ptrace (PR_SET_DUMPABLE)");
    }
}

fn on_runtime(args: &Args, file: ConfigFile, is_check: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        // one per source and one per response; a source that hangs must not start hundreds
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        // threads of the first scrape are kept: under a fork bomb, no others can be started
        .thread_keep_alive(Duration::MAX)
        .enable_all()
        .build()
        .context("failed to start threads")?;
    let outcome = runtime.block_on(with_scraper(args, file, is_check));
    // a source that hangs in the kernel must not keep the process alive
    runtime.shutdown_background();
    outcome
}

async fn with_scraper(args: &Args, file: ConfigFile, is_check: bool) -> anyhow::Result<ExitCode> {
    if !is_check && !args.once {
        let (version, revision) = (env!("CARGO_PKG_VERSION"), env!("BUILT_FROM"));
        info!(version, revision, "starting unit-exporter");
    }
    let requests: Arc<HttpCounts> = Arc::default();
    let disabled = args.disabled();
    let (scraper, follower) = start_scraper(args, &disabled, requests.clone(), is_check)?;
    if is_check {
        return check_host::run(args, &disabled, &Arc::new(scraper)).await;
    }
    let telemetry_path = args.telemetry_path.clone();
    let metrics = SelectedMetrics {
        profile: args.profile,
        whole_collectors: args.collectors.enabled(),
        excluded: args.metric_names.excluded().map_err(anyhow::Error::msg)?,
    };
    let exporter = Exporter::new(scraper, metrics, disabled, args.max_series, telemetry_path);
    if args.once {
        return once::run(&exporter).await;
    }
    serve::run(args, file, exporter, requests, follower).await
}

/// Starts to follow systemd and, unless disabled, the journal and the managers of users. Returns the
/// thread that follows PID 1.
fn start_scraper(
    args: &Args,
    off: &Disabled,
    requests: Arc<HttpCounts>,
    is_check: bool,
) -> anyhow::Result<(Scraper, Thread)> {
    let selection = Selection::new(&args.unit_include, &args.unit_exclude)?
        .with_each_short_lived(args.short_lived);
    let keep = Retention {
        unloaded_for: args.keep_unloaded,
        max_unloaded: args.keep_unloaded_max,
        max_events: args.events,
    };
    let thread =
        |name| Thread::start(name).context("failed to start a thread that follows systemd");
    let follower = thread("follow")?;
    let mirror = Mirror::new(selection.clone()).with_limit(MAX_UNITS, RESERVED_UNITS);
    let shared = Shared::new(mirror, Ledger::new(keep));
    let restored = match args.once || is_check {
        true => state::RestoredState::default(),
        false => state::restore(args, &shared),
    };
    if !off.has("journal") {
        // before the first unit is read
        shared.lock().ledger.enable_reconciliation();
    }
    let extras = Extras {
        conditions: !off.has("conditions"),
        files: !off.has("unit-files"),
        ..Extras::default()
    };
    let manager = BusAddress::Bus(args.manager_address());
    // the directories of a user are in the user's home
    let of_system = |directories: &[&str]| {
        let directories = directories.iter().filter(|_| !args.user);
        directories.map(PathBuf::from).collect()
    };
    let options = FollowOptions {
        manager,
        resync: args.resync,
        control_directories: of_system(&CONTROL_DIRECTORIES),
        unit_directories: of_system(&UNIT_DIRECTORIES),
        extras,
    };
    follower.spawn(follow(shared.clone(), options));
    let users = if off.has("user-managers") {
        UserManagers::default()
    } else {
        UserManagers::watch(UserManagerConfig {
            selection: selection.clone(),
            keep,
            resync: args.resync,
            extras,
            // a user can make the thread hang that reads from that user's bus
            thread: thread("follow-users")?,
            dbus_address: args.dbus_address.clone(),
        })
    };
    let config = ScrapeConfig {
        proc: args.procfs.clone(),
        cgroup: "/sys/fs/cgroup".into(),
        expected: args.expected(),
        not_found: args.not_found,
        listeners: args.sockets(),
        dbus_address: args.dbus_address.clone(),
        journal: JournalOptions { start: restored.journal, ..args.journal(selection) },
        has_journal: !off.has("journal"),
        state_file: restored.file,
        users,
    };
    let scraper = Scraper::new(shared, config, requests);
    if off.has("journal") {
        tokio::spawn(scraper.save_state_without_journal());
    } else {
        let (follow, watch) = scraper.follow_journal();
        Thread::start("journal")
            .context("failed to start the thread that reads the journal")?
            .spawn(follow);
        tokio::spawn(watch);
    }
    Ok((scraper, follower))
}

/// Waits until the units have been read, at most until the time limit.
async fn wait_for_units(scraper: &Scraper, limit: Duration) {
    let filled = async {
        while scraper.ready().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // after the limit, the output itself reports that units are missing
    let _ = tokio::time::timeout(limit, filled).await;
}

/// One for the scraper and one for HTTP; neither is busy.
const WORKER_THREADS: usize = 2;

const MAX_BLOCKING_THREADS: usize = 16;

/// How long `--once` waits until the units have been read.
const FILL_TIMEOUT: Duration = Duration::from_secs(30);

/// Units of the system's manager that are followed: a host has hundreds to thousands.
const MAX_UNITS: usize = 25_000;

/// Of them, places for services, sockets and timers only: a flood of mounts or scopes displaces none.
const RESERVED_UNITS: usize = 5_000;
