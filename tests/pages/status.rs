//! The page at `/`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use unit_exporter::cli::hash_password;
use unit_exporter::http::{Options, Protection};
use unit_exporter::snapshot::{Attempt, Snapshot};
use unit_exporter::source::sockets::{Reading, UnixListener};
use unit_exporter::systemd::ledger::What;
use unit_exporter::systemd::manager::Manager;
use unit_exporter::systemd::snapshot::SystemdSnapshot;
use unit_exporter::systemd::state::Status;
use unit_exporter::systemd::unit::Unit;
use unit_exporter::systemd::unit::name::Kind;

use crate::browser::Browser;
use crate::host::{Served, Told, event};

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_what_failed_when_what_crashed_and_what_cannot_be_read() {
    let served = Served::start(Told::golden());
    let browser = Browser::open().await;
    browser.go(&served.url("/")).await;
    assert_eq!(browser.driver.title().await.unwrap(), "1 failed – golden");
    assert_eq!(browser.text("h1").await, "golden");
    let facts = browser.text(".facts").await;
    for fact in ["degraded", "systemd 252.38", "Linux 6.1.0", "booted 2025-11-23", "tainted"] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }
    let tiles = browser.texts(".tile").await;
    assert!(tiles.iter().any(|tile| tile.replace('\n', " ") == "1 failed"), "{tiles:?}");
    assert!(tiles.iter().any(|tile| tile.contains("1\njob oldest 1.5 s")), "{tiles:?}");

    let cards = browser.texts("#attention li").await;
    let card = |name: &str| cards.iter().find(|card| card.contains(name)).expect(name).clone();
    assert!(card("missing.service").contains("missing"), "{cards:?}");
    assert!(card("laravel-reverb").contains("silent"), "{cards:?}");
    assert!(card("bad.service").contains("bad-setting"), "{cards:?}");
    let crash = card("crash.service");
    assert!(crash.contains("failed, given up"), "{crash}");
    assert!(crash.contains("killed by SIGSEGV and dumped core"), "{crash}");
    let run = "ab".repeat(16);
    let command = format!("journalctl _SYSTEMD_INVOCATION_ID={run} + INVOCATION_ID={run}");
    assert!(crash.contains(&command), "{crash}");

    let lanes = browser.texts(".lanes > li").await;
    assert_eq!(lanes.len(), 2, "{lanes:?}");
    assert!(lanes[0].contains("crash.service was given up"), "{lanes:?}");
    assert!(lanes[0].contains(" s ago)"), "{lanes:?}");
    assert!(lanes[0].contains("2 earlier crashes"), "{lanes:?}");
    assert!(lanes[1].contains("nginx.service exited with status 3"), "{lanes:?}");
    let strokes =
        browser.run("return document.querySelectorAll('.strip path')[1].getTotalLength() > 0");
    assert_eq!(strokes.await, json!(true));

    let health = browser.text("#health").await;
    for line in ["units\tworks", "manager\tfails no", "timers\toff", "mount units cannot be listed"]
    {
        assert!(health.replace(' ', "\t").contains(&line.replace(' ', "\t")), "{line}: {health}");
    }
    let links = browser.run("return [...document.querySelectorAll('.bar a')].map(a => a.pathname)");
    assert_eq!(links.await, json!(["/metrics", "/api/v1/events", "/reference"]));
    // nothing was refused by the page's own policy, and nothing failed
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_filtered_and_sorted_in_place() {
    let served = Served::start(Told::many(300));
    let browser = Browser::open().await;
    browser.go(&served.url("/")).await;
    assert_eq!(browser.text("#count").await, "300 units, the first 250 of them here.");
    browser.run("window.same = true").await;

    browser.keys("#q", "-001").await;
    browser
        .until("ten are left", "document.querySelectorAll('.units tbody tr').length === 10")
        .await;
    assert_eq!(browser.text("#count").await, "10 of 300 units. Show all kinds");
    assert_eq!(browser.query().await, "?q=-001");
    assert_eq!(browser.run("return document.activeElement.id").await, json!("q"));

    browser.click("#sort-memory").await;
    let sorted = "document.querySelector('#sort-memory').parentElement.ariaSort === 'descending'";
    browser.until("it is sorted", sorted).await;
    assert_eq!(browser.query().await, "?q=-001&sort=memory");
    let largest = memory(&browser).await;
    assert!(largest.is_sorted_by(|a, b| a >= b), "{largest:?}");
    browser.click("#sort-memory").await;
    browser.until("it is turned round", &sorted.replace("descending", "ascending")).await;
    let smallest = memory(&browser).await;
    assert!(smallest.is_sorted(), "{smallest:?}");
    // who sorts by keyboard stays where they are
    assert_eq!(browser.run("return document.activeElement.id").await, json!("sort-memory"));

    browser.run("document.querySelector('#q').value = ''").await;
    browser.run("const s = document.querySelector('#state'); s.value = 'failed'; s.dispatchEvent(new Event('input', { bubbles: true }))").await;
    browser
        .until("the failed are left", "document.querySelectorAll('.units tbody tr').length === 3")
        .await;
    assert_eq!(browser.query().await, "?state=failed&sort=-memory");
    assert_eq!(browser.run("return window.same").await, json!(true), "the page was left");
    assert_eq!(browser.complaints().await, [""; 0]);

    // the address alone gives the same
    browser.go(&served.url("/?state=failed&sort=-memory")).await;
    assert_eq!(browser.texts(".units tbody tr").await.len(), 3);
    assert_eq!(browser.run("return document.querySelector('#state').value").await, json!("failed"));
    browser.close().await;
}

/// The column, in the units of its first line.
async fn memory(browser: &Browser) -> Vec<f64> {
    let cells = browser.texts(".units tbody td:nth-child(7)").await;
    cells
        .iter()
        .map(|cell| {
            let (number, unit) = cell.split_once(' ').expect("a number and its unit");
            let power = ["B", "KiB", "MiB", "GiB"].iter().position(|known| *known == unit).unwrap();
            number.parse::<f64>().unwrap() * 1024_f64.powi(power.try_into().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_script_it_is_complete_and_asked_by_its_form() {
    let served = Served::start(Told::many(300));
    let browser = Browser::open().await;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.go(&served.url("/")).await;
    assert_eq!(browser.texts(".bar button").await, [""; 0], "the script did not run");
    browser.keys("#q", "-0100").await;
    let lines = |n: usize| format!("document.querySelectorAll('.units tbody tr').length === {n}");
    browser.click("#filter button").await;
    browser.until("one is left", &lines(1)).await;
    assert_eq!(browser.texts(".units tbody th").await, ["application-0100.service"]);
    browser.click("#count a").await;
    browser.until("all are there again", &lines(250)).await;
    browser.click("#sort-cpu").await;
    browser.until("they are sorted", "location.search === '?sort=cpu'").await;
    browser.click("#table > p:last-child a").await;
    browser.until("all are there", &lines(300)).await;
    browser.click(".units tbody a").await;
    let there = "document.querySelector('h1').textContent.startsWith('application-')";
    browser.until("its page is there", there).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_refreshes_without_disturbing_who_reads() {
    let served = Served::start(Told::golden());
    let browser = Browser::open().await;
    browser.go(&served.url("/")).await;
    browser.run("window.same = true; document.querySelector('#crashes details').open = true").await;
    browser.run("document.querySelector('#sort-memory').focus()").await;
    let mut told = Told::golden();
    told.events.insert(0, event("late.service", 1, What::Failed, Some("oom-kill"), None));
    served.tell(told);
    // by itself, after ten seconds
    browser
        .until("it shows what is new", "document.querySelectorAll('.lanes > li').length === 3")
        .await;
    assert!(browser.text(".lanes > li").await.contains("late.service ran out of memory"));
    assert_eq!(
        browser.run("return document.querySelector('#crashes details').open").await,
        json!(true)
    );
    assert_eq!(browser.run("return document.activeElement.id").await, json!("sort-memory"));
    assert_eq!(browser.run("return window.same").await, json!(true), "the page was left");

    // paused, it stays as it is; asked to go on, it is new at once
    browser.click("#live button").await;
    assert_eq!(browser.text("#live button").await, "Refresh");
    served.tell(Told::golden());
    browser.click("#live button").await;
    browser.until("it is new again", "document.querySelectorAll('.lanes > li').length === 2").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_command_is_the_one_that_is_shown() {
    let served = Served::start(Told::golden());
    let browser = Browser::open().await;
    browser.go(&served.url("/")).await;
    let origin = served.url("");
    let permission = json!({ "origin": origin, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.devtools("Browser.grantPermissions", permission).await;
    let shown = browser.text("#crashes .cmd").await;
    browser.click("#crashes .copy").await;
    browser
        .until("it says so", "document.querySelector('#crashes .copy').textContent === 'Copied'")
        .await;
    let copied =
        browser.driver.execute_async("navigator.clipboard.readText().then(arguments[0])", vec![]);
    assert_eq!(copied.await.unwrap().json(), &json!(shown));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_behind_a_password_also_one_in_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let hash = hash_password(b"dave123", 5).unwrap();
    std::fs::write(&file, format!("basic_auth_users: {{ dave: {hash} }}")).unwrap();
    let protection = Arc::new(Protection::open(&file).unwrap());
    let served = Served::with(Told::many(50), Options { protection, ..Options::default() });
    let browser = Browser::open().await;
    browser.go(&served.url("/")).await;
    assert!(!browser.driver.source().await.unwrap().contains("application-"));
    browser.complaints().await;
    browser.go(&format!("http://dave:dave123@{}/", served.address)).await;
    assert_eq!(browser.text("#count").await, "50 units.");
    browser.keys("#q", "0042").await;
    browser.until("one is left", "document.querySelectorAll('.units tbody tr').length === 1").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_says_stays_text_wherever_it_stands() {
    let served = Served::start(hostile());
    let browser = Browser::open().await;
    for path in [
        "/",
        "/?q=%22%3E%3Cscript%3Ewindow.hacked%3D1%3C/script%3E&state=%22%3E%3Cimg+src%3Dx+onerror%3D%22window.hacked%3D1%22%3E&all=1",
    ] {
        browser.go(&served.url(path)).await;
        assert_harmless(&browser).await;
    }
    browser.go(&served.url("/")).await;
    let shown = browser.text("main").await;
    for place in [
        "host", "kernel", "trouble", "state", "sub", "load", "taint", "version", "attempt", "unix",
        "event", "status",
    ] {
        assert!(shown.contains(&attack(place)), "{place}: {shown}");
    }
    let href = browser.run("return document.querySelector('.units tbody a').getAttribute('href')");
    let href = href.await.as_str().unwrap().to_owned();
    browser.go(&served.url(&format!("/{href}"))).await;
    assert_harmless(&browser).await;
    let shown = browser.text("main").await;
    for place in ["state", "sub", "load", "group", "unix"] {
        assert!(shown.contains(&attack(place)), "{place}: {shown}");
    }
    assert!(browser.text("h1").await.contains(&attack("name")));
    browser.go(&served.url("/unit/%3Cscript%3Ewindow.hacked=1%3C%2Fscript%3E")).await;
    assert_harmless(&browser).await;
    assert!(browser.text("main").await.contains("<script>window.hacked=1</script>"));
    browser.close().await;
}

async fn assert_harmless(browser: &Browser) {
    assert_eq!(browser.run("return window.hacked === undefined").await, json!(true));
    let ours = browser.run("return [document.scripts.length, document.images.length, document.querySelectorAll('b').length]");
    let ours = ours.await;
    assert_eq!((&ours[0], &ours[1]), (&json!(1), &json!(0)), "{ours}");
}

/// Text that is dangerous as markup, as an attribute, in either kind of quotes, and as an entity.
fn attack(place: &str) -> String {
    format!("{place}\"><script>window.hacked=1</script>'&lt;<img src=x onerror=window.hacked=1>")
}

/// Every text that a host may give, at its worst.
fn hostile() -> Told {
    let word = |place: &str| Some(attack(place).into());
    // worse than any name that systemd allows
    let mut unit = Unit::new(format!("{}.service", attack("name")).into(), Kind::Service, true);
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
    let mut happened = (*event("x.service", 5, What::Failed, None, None)).clone();
    happened.unit = attack("event").into();
    happened.cause = word("cause");
    let mut killed = happened.clone();
    (killed.cause, killed.status) = (Some("exit-code".into()), word("status"));
    killed.unit = "killed.service".into();
    let snapshot = Snapshot {
        systemd: Some(SystemdSnapshot {
            units: vec![Arc::new(unit)],
            manager,
            ..SystemdSnapshot::default()
        }),
        status: Status { trouble: Some(attack("trouble")), ..Status::default() },
        listeners: Some(Reading { unix: Some(vec![unix]), ..Reading::default() }),
        attempts: vec![Attempt {
            collector: "units",
            error: Some(attack("attempt")),
            took: Duration::from_millis(1),
            last_success: None,
            panics: 0,
        }],
        ..Snapshot::default()
    };
    Told {
        host: unit_exporter::html::Host { name: attack("host"), kernel: attack("kernel") },
        snapshot: Arc::new(snapshot),
        events: vec![Arc::new(happened), Arc::new(killed)],
        share: None,
    }
}
