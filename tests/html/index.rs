//! The page at `/`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use unit_exporter::cli::hash_password;
use unit_exporter::http::{LiveConfig, ServerOptions};
use unit_exporter::snapshot::{Attempt, Snapshot};
use unit_exporter::source::sockets::{ListenerReading, UnixListener};
use unit_exporter::systemd::ledger::EventKind;
use unit_exporter::systemd::manager::Manager;
use unit_exporter::systemd::snapshot::SystemdSnapshot;
use unit_exporter::systemd::state::Status;
use unit_exporter::systemd::unit::Unit;
use unit_exporter::systemd::unit::name::UnitKind;

use crate::browser::Browser;
use crate::page_server::{PageData, PageServer, event};

#[tokio::test(flavor = "multi_thread")]
async fn index_shows_failed_units_crashes_and_read_errors() {
    let server = PageServer::start(PageData::golden());
    let browser = Browser::open().await;
    browser.go(&server.url("/")).await;
    assert_eq!(browser.driver.title().await.unwrap(), "5 failed – golden");
    assert_eq!(browser.text("h1").await, "golden");
    let facts = browser.text(".facts").await;
    for fact in ["degraded", "systemd 252.38", "Linux 6.1.0", "booted 2025-11-23", "tainted"] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }
    let tiles = browser.texts(".tile").await;
    assert!(tiles.iter().any(|tile| tile.replace('\n', " ") == "5 failed"), "{tiles:?}");
    assert!(tiles.iter().any(|tile| tile.contains("1\nsystemd job oldest ")), "{tiles:?}");

    let cards = browser.texts("#attention li").await;
    let card = |name: &str| cards.iter().find(|card| card.contains(name)).expect(name).clone();
    assert!(card("missing.service").contains("missing"), "{cards:?}");
    assert!(card("laravel-reverb").contains("not listening"), "{cards:?}");
    assert!(card("bad.service").contains("bad-setting"), "{cards:?}");
    let crash = card("crash.service");
    assert!(crash.contains("failed, start limit hit"), "{crash}");
    assert!(crash.contains("Result: killed by SIGSEGV, core dumped."), "{crash}");
    let run = "ab".repeat(16);
    let command = format!("journalctl _SYSTEMD_INVOCATION_ID={run} + INVOCATION_ID={run}");
    assert!(crash.contains(&command), "{crash}");

    let lanes = browser.texts(".lanes > li").await;
    assert_eq!(lanes.len(), 2, "{lanes:?}");
    assert!(lanes[0].contains("crash.service start limit hit"), "{lanes:?}");
    assert!(lanes[0].contains(" s ago)"), "{lanes:?}");
    assert!(lanes[0].contains("2 earlier crashes"), "{lanes:?}");
    assert!(lanes[1].contains("nginx.service exited with status 3"), "{lanes:?}");
    let strokes =
        browser.run("return document.querySelectorAll('.strip path')[1].getTotalLength() > 0");
    assert_eq!(strokes.await, json!(true));

    let health = browser.text("#health").await;
    for line in
        ["units\tok", "manager\tfailed no", "timers\tdisabled", "mount units cannot be listed"]
    {
        assert!(health.replace(' ', "\t").contains(&line.replace(' ', "\t")), "{line}: {health}");
    }
    let links = browser.run("return [...document.querySelectorAll('.bar a')].map(a => a.pathname)");
    assert_eq!(links.await, json!(["/metrics", "/api/v1/events", "/reference"]));
    // nothing violates the Content-Security-Policy, and no script fails
    assert_eq!(browser.log_messages().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn table_is_filtered_and_sorted_without_reload() {
    let server = PageServer::start(PageData::many(300));
    let browser = Browser::open().await;
    browser.go(&server.url("/")).await;
    assert_eq!(browser.text("#count").await, "300 units, first 250 shown.");
    browser.run("window.same = true").await;

    browser.keys("#q", "-001").await;
    browser.until_rows(10).await;
    assert_eq!(browser.text("#count").await, "10 of 300 units. Clear filters");
    assert_eq!(browser.query().await, "?q=-001");
    assert_eq!(browser.run("return document.activeElement.id").await, json!("q"));

    browser.click("#sort-memory").await;
    let sorted = "document.querySelector('#sort-memory').parentElement.ariaSort === 'descending'";
    browser.until("the table is sorted by memory", sorted).await;
    assert_eq!(browser.query().await, "?q=-001&sort=memory");
    let largest = memory_column(&browser).await;
    assert!(largest.is_sorted_by(|a, b| a >= b), "{largest:?}");
    browser.click("#sort-memory").await;
    browser.until("the order is reversed", &sorted.replace("descending", "ascending")).await;
    let smallest = memory_column(&browser).await;
    assert!(smallest.is_sorted(), "{smallest:?}");
    // the focus stays on the column's button
    assert_eq!(browser.run("return document.activeElement.id").await, json!("sort-memory"));

    browser.run("document.querySelector('#q').value = ''").await;
    browser.run("const s = document.querySelector('#state'); s.value = 'failed'; s.dispatchEvent(new Event('input', { bubbles: true }))").await;
    browser.until_rows(3).await;
    assert_eq!(browser.query().await, "?state=failed&sort=-memory");
    assert_eq!(browser.run("return window.same").await, json!(true), "the page was reloaded");
    assert_eq!(browser.log_messages().await, [""; 0]);

    // the URL alone selects the same units
    browser.go(&server.url("/?state=failed&sort=-memory")).await;
    assert_eq!(browser.texts(".units tbody tr").await.len(), 3);
    assert_eq!(browser.run("return document.querySelector('#state').value").await, json!("failed"));
    browser.close().await;
}

/// The memory column of the table, in bytes.
async fn memory_column(browser: &Browser) -> Vec<f64> {
    let cells = browser.texts(".units tbody td:nth-child(7)").await;
    cells
        .iter()
        .map(|cell| {
            let (number, unit) = cell.split_once(' ').expect("a number and its unit");
            let power =
                ["B", "KiB", "MiB", "GiB"].iter().position(|prefixed| *prefixed == unit).unwrap();
            number.parse::<f64>().unwrap() * 1024_f64.powi(power.try_into().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn index_shows_all_units_and_filters_without_javascript() {
    let server = PageServer::start(PageData::many(300));
    let browser = Browser::open().await;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.go(&server.url("/")).await;
    assert_eq!(browser.texts(".bar button").await, [""; 0], "JavaScript is not disabled");
    browser.keys("#q", "-0100").await;
    browser.click("#filter button").await;
    browser.until_rows(1).await;
    assert_eq!(browser.texts(".units tbody th").await, ["application-0100.service"]);
    browser.click("#count a").await;
    browser.until_rows(250).await;
    browser.click("#sort-cpu").await;
    browser.until("the table is sorted by CPU usage", "location.search === '?sort=cpu'").await;
    browser.click("#table > p:last-child a").await;
    browser.until_rows(300).await;
    browser.click(".units tbody a").await;
    let title = "document.querySelector('h1').textContent.startsWith('application-')";
    browser.until("the unit's page is open", title).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_keeps_focus_and_open_sections() {
    let server = PageServer::start(PageData::golden());
    let browser = Browser::open().await;
    browser.go(&server.url("/")).await;
    browser.run("window.same = true; document.querySelector('#crashes details').open = true").await;
    browser.run("document.querySelector('#sort-memory').focus()").await;
    let mut data = PageData::golden();
    data.events.insert(0, event("late.service", 1, EventKind::Failed, Some("oom-kill"), None));
    server.set_data(data);
    // automatically, after 10 s
    browser
        .until("the new crash is shown", "document.querySelectorAll('.lanes > li').length === 3")
        .await;
    assert!(browser.text(".lanes > li").await.contains("late.service killed: out of memory"));
    assert_eq!(
        browser.run("return document.querySelector('#crashes details').open").await,
        json!(true)
    );
    assert_eq!(browser.run("return document.activeElement.id").await, json!("sort-memory"));
    assert_eq!(browser.run("return window.same").await, json!(true), "the page was reloaded");

    // a paused page refreshes at once when it is resumed
    browser.click("#live button").await;
    assert_eq!(browser.text("#live button").await, "Refresh");
    server.set_data(PageData::golden());
    browser.click("#live button").await;
    browser
        .until("the page is refreshed", "document.querySelectorAll('.lanes > li').length === 2")
        .await;
    assert_eq!(browser.log_messages().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_button_copies_the_shown_command() {
    let server = PageServer::start(PageData::golden());
    let browser = Browser::open().await;
    browser.go(&server.url("/")).await;
    let origin = server.url("");
    let permission = json!({ "origin": origin, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.devtools("Browser.grantPermissions", permission).await;
    let shown = browser.text("#crashes .cmd").await;
    browser.click("#crashes .copy").await;
    browser
        .until(
            "the button is labeled Copied",
            "document.querySelector('#crashes .copy').textContent === 'Copied'",
        )
        .await;
    let copied =
        browser.driver.execute_async("navigator.clipboard.readText().then(arguments[0])", vec![]);
    assert_eq!(copied.await.unwrap().json(), &json!(shown));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn index_requires_basic_auth_and_accepts_url_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.yml");
    let hash = hash_password(b"dave123", 5).unwrap();
    std::fs::write(&file, format!("basic_auth_users: {{ dave: {hash} }}")).unwrap();
    let config = Arc::new(LiveConfig::open(&file).unwrap());
    let server =
        PageServer::with(PageData::many(50), ServerOptions { config, ..ServerOptions::default() });
    let browser = Browser::open().await;
    browser.go(&server.url("/")).await;
    assert!(!browser.driver.source().await.unwrap().contains("application-"));
    browser.log_messages().await;
    browser.go(&format!("http://dave:dave123@{}/", server.address)).await;
    assert_eq!(browser.text("#count").await, "50 units.");
    browser.keys("#q", "0042").await;
    browser.until_rows(1).await;
    assert_eq!(browser.log_messages().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_from_host_is_never_interpreted_as_html() {
    let server = PageServer::start(hostile());
    let browser = Browser::open().await;
    for path in [
        "/",
        "/?q=%22%3E%3Cscript%3Ewindow.hacked%3D1%3C/script%3E&state=%22%3E%3Cimg+src%3Dx+onerror%3D%22window.hacked%3D1%22%3E&all=1",
    ] {
        browser.go(&server.url(path)).await;
        assert_harmless(&browser).await;
    }
    browser.go(&server.url("/")).await;
    let shown = browser.text("main").await;
    for field in [
        "host", "kernel", "trouble", "state", "sub", "load", "taint", "version", "attempt", "unix",
        "event", "status",
    ] {
        assert!(shown.contains(&attack(field)), "{field}: {shown}");
    }
    let href = browser.run("return document.querySelector('.units tbody a').getAttribute('href')");
    let href = href.await.as_str().unwrap().to_owned();
    browser.go(&server.url(&format!("/{href}"))).await;
    assert_harmless(&browser).await;
    let shown = browser.text("main").await;
    for field in ["state", "sub", "load", "group", "unix"] {
        assert!(shown.contains(&attack(field)), "{field}: {shown}");
    }
    assert!(browser.text("h1").await.contains(&attack("name")));
    browser.go(&server.url("/unit/%3Cscript%3Ewindow.hacked=1%3C%2Fscript%3E")).await;
    assert_harmless(&browser).await;
    assert!(browser.text("main").await.contains("<script>window.hacked=1</script>"));
    browser.close().await;
}

async fn assert_harmless(browser: &Browser) {
    assert_eq!(browser.run("return window.hacked === undefined").await, json!(true));
    let counts = browser.run("return [document.scripts.length, document.images.length, document.querySelectorAll('b').length]");
    let counts = counts.await;
    assert_eq!((&counts[0], &counts[1]), (&json!(1), &json!(0)), "{counts}");
}

/// An injection as markup, as an attribute in single or double quotes, and as an entity.
fn attack(field: &str) -> String {
    format!("{field}\"><script>window.hacked=1</script>'&lt;<img src=x onerror=window.hacked=1>")
}

/// A host on which every text is an injection.
fn hostile() -> PageData {
    let word = |field: &str| Some(attack(field).into());
    // systemd does not allow such a name
    let mut unit = Unit::new(format!("{}.service", attack("name")).into(), UnitKind::Service, true);
    unit.active_state = word("state");
    unit.sub_state = word("sub");
    unit.load_state = word("load");
    unit.control_group = Some(attack("group").into());
    let manager = Manager {
        version: word("version"),
        system_state: word("state"),
        virtualization: word("virtualization"),
        tainted: vec![attack("taint").into()],
        ..Manager::default()
    };
    let unix = UnixListener {
        unit: unit.name.clone(),
        path: attack("unix"),
        accept_queue: 1,
        accept_queue_limit: 2,
    };
    let mut failed = (*event("x.service", 5, EventKind::Failed, None, None)).clone();
    failed.unit = attack("event").into();
    failed.cause = word("cause");
    let mut killed = failed.clone();
    (killed.cause, killed.status) = (Some("exit-code".into()), word("status"));
    killed.unit = "killed.service".into();
    let snapshot = Snapshot {
        systemd: Some(SystemdSnapshot {
            units: vec![Arc::new(unit)],
            manager,
            ..SystemdSnapshot::default()
        }),
        status: Status { trouble: Some(attack("trouble")), ..Status::default() },
        listeners: Some(ListenerReading { unix: Some(vec![unix]), ..ListenerReading::default() }),
        attempts: vec![Attempt {
            collector: "units",
            error: Some(attack("attempt")),
            took: Duration::from_millis(1),
            last_success: None,
            panics: 0,
        }],
        ..Snapshot::default()
    };
    PageData {
        host: unit_exporter::html::HostInfo { name: attack("host"), kernel: attack("kernel") },
        snapshot: Arc::new(snapshot),
        events: vec![Arc::new(failed), Arc::new(killed)],
        cpu_usage: None,
    }
}
