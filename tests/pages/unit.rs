//! The page at `/unit/NAME`.

use crate::browser::Browser;
use crate::host::{Served, Told};

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_shows_everything_known_of_it() {
    let served = Served::start(Told::golden());
    let browser = Browser::open().await;
    browser.go(&served.url("/?q=nginx")).await;
    browser.click(".units tbody a").await;
    assert_eq!(browser.text("h1").await, "nginx.service");
    let commands = browser.texts(".commands .cmd").await;
    assert!(commands.contains(&"systemctl status nginx.service".to_owned()), "{commands:?}");
    let shown = browser.text("main").await;
    for text in [
        "active",
        "since 2025-11-23",
        "notify",
        "4711",
        "In user mode",
        "At most so far",
        "Read",
        "Processes and threads",
        "443",
        "2 of 1,533",
        "exited with status 3",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    browser.click(".bar a").await;
    assert_eq!(browser.text("h1").await, "golden");
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_need_encoding_lead_to_their_unit_and_units_to_each_other() {
    let served = Served::start(Told::golden());
    let browser = Browser::open().await;
    browser.go(&served.url("/?type=swap")).await;
    browser.click(".units tbody a").await;
    assert_eq!(browser.text("h1").await, "dev-disk-by\\x2duuid-1.swap");
    let commands = browser.texts(".commands .cmd").await;
    assert!(
        commands.contains(&"systemctl status 'dev-disk-by\\x2duuid-1.swap'".to_owned()),
        "{commands:?}"
    );
    browser.go(&served.url("/unit/backup.timer")).await;
    let related = browser.text("#facts").await;
    assert!(related.contains("Starts\nbackup.service"), "{related}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_unit_is_answered_with_what_may_be_meant() {
    let served = Served::start(Told::golden());
    let browser = Browser::open().await;
    for (path, hints) in [
        ("/unit/nginx", &["not the whole name", "nginx.service"][..]),
        ("/unit/nginx@1.service", &["has not loaded", "unit-exclude", "nginx.service"]),
        ("/unit/na%20me.service", &["cannot be the name of a unit"]),
        ("/unit/", &["wants a unit's name"]),
    ] {
        browser.go(&served.url(path)).await;
        let shown = browser.text("main").await;
        for hint in hints {
            assert!(shown.contains(hint), "{path}: {hint}: {shown}");
        }
    }
    browser.go(&served.url("/unit/nginx")).await;
    browser.click("main li a").await;
    assert_eq!(browser.text("h1").await, "nginx.service");
    browser.close().await;
}
