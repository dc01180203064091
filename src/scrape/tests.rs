//! Sources that panic or hang, which cannot be provoked on a host.

use clap::Parser;
use tokio::task::spawn_blocking;

use super::*;
use crate::cli::args::Args;
use crate::scrape::attempt::SOURCE_TIMEOUT;
use crate::source::Error;
use crate::systemd::ledger::Ledger;
use crate::systemd::mirror::Mirror;
use crate::unit_filter::Selection;

fn scraper() -> Arc<Scraper> {
    scraper_of("/proc".into())
}

fn scraper_of(proc: PathBuf) -> Arc<Scraper> {
    let nowhere = PathBuf::from("/nowhere");
    let config = ScrapeConfig {
        state_file: None,
        has_journal: true,
        proc,
        cgroup: nowhere.clone(),
        expected: Expected::default(),
        not_found: false,
        listeners: SocketOptions::default(),
        dbus_address: "unix:path=/nowhere".to_owned(),
        journal: Args::parse_from(["unit-exporter"]).journal(Selection::default()),
        users: UserManagers::default(),
    };
    let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
    shared.lock().status.trouble = Some("systemd is not followed here".to_owned());
    Arc::new(Scraper::new(shared, config, Arc::default()))
}

#[tokio::test]
async fn panic_is_counted_and_fails_only_its_collector() {
    let scraper = scraper();
    let panics =
        || async { spawn_blocking(|| -> Result<u8, Error> { panic!("on purpose") }).await };
    let works = || async { Ok(Ok(7)) };
    for round in 1..=3 {
        let (bad, good) = tokio::join!(
            scraper.collectors.attempt("cgroup", true, panics()),
            scraper.collectors.attempt("process", true, works()),
        );
        let (value, attempt) = bad.unwrap();
        assert_eq!((value, attempt.panics), (None, round));
        assert!(attempt.error.unwrap().contains("please report"));
        let (value, attempt) = good.unwrap();
        assert_eq!((value, attempt.panics, attempt.error), (Some(7), 0, None));
    }
    // it works again, and what was counted stays
    let (value, attempt) = scraper.collectors.attempt("cgroup", true, works()).await.unwrap();
    assert_eq!((value, attempt.panics, attempt.error), (Some(7), 3, None));
}

#[tokio::test]
async fn panic_while_the_mirror_is_locked_fails_no_scrape() {
    let scraper = scraper();
    let shared = scraper.shared.clone();
    let holds = move || {
        let _state = shared.lock();
        panic!("on purpose");
    };
    assert!(spawn_blocking(holds).await.is_err());
    let snapshot = scraper.scrape(&["listeners", "journal"]).await.unwrap();
    assert!(snapshot.attempts.iter().any(|attempt| attempt.collector == "units"));
    assert!(snapshot.pid1.is_some());
}

/// No kernel writes such a file; procfs panics at a bracket that is closed before one is opened.
#[tokio::test]
async fn panic_in_procfs_fails_only_the_manager_collector() {
    let proc = tempfile::tempdir().unwrap();
    std::fs::create_dir(proc.path().join("1")).unwrap();
    std::fs::write(proc.path().join("1/stat"), ") (1 S 0 0").unwrap();
    let scraper = scraper_of(proc.path().to_owned());
    let snapshot = scraper.scrape(&["listeners", "journal"]).await.unwrap();
    let attempt =
        |name| snapshot.attempts.iter().find(|attempt| attempt.collector == name).unwrap();
    assert_eq!(attempt("manager").panics, 1);
    assert_eq!((attempt("exporter").panics, &attempt("exporter").error), (0, &None));
    assert!(snapshot.pid1.is_none() && snapshot.own.is_some());
}

#[tokio::test(start_paused = true)]
async fn source_that_hangs_fails_at_the_deadline() {
    let scraper = scraper();
    let hangs = std::future::pending::<Read<u8>>();
    let began = tokio::time::Instant::now();
    let (value, attempt) = scraper.collectors.attempt("cgroup", true, hangs).await.unwrap();
    assert!(value.is_none());
    assert_eq!(attempt.error, Some(Error::Late.to_string()));
    assert_eq!(began.elapsed(), SOURCE_TIMEOUT);
}
