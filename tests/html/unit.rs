//! The page at `/unit/NAME`.

use crate::browser::Browser;
use crate::page_server::{PageData, PageServer};

#[tokio::test(flavor = "multi_thread")]
async fn unit_page_shows_state_resources_and_commands() {
    let server = PageServer::start(PageData::golden());
    let browser = Browser::open().await;
    browser.go(&server.url("/?q=nginx")).await;
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
        "User mode",
        "Peak",
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
    assert_eq!(browser.log_messages().await, [""; 0]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn escaped_unit_names_are_linked_and_related_units_listed() {
    let server = PageServer::start(PageData::golden());
    let browser = Browser::open().await;
    browser.go(&server.url("/?type=swap")).await;
    browser.click(".units tbody a").await;
    assert_eq!(browser.text("h1").await, "dev-disk-by\\x2duuid-1.swap");
    let commands = browser.texts(".commands .cmd").await;
    assert!(
        commands.contains(&"systemctl status 'dev-disk-by\\x2duuid-1.swap'".to_owned()),
        "{commands:?}"
    );
    browser.go(&server.url("/unit/backup.timer")).await;
    let related = browser.text("#facts").await;
    assert!(related.contains("Triggers\nbackup.service"), "{related}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_unit_page_suggests_existing_units() {
    let server = PageServer::start(PageData::golden());
    let browser = Browser::open().await;
    for (path, hints) in [
        ("/unit/nginx", &["not a complete unit name", "nginx.service"][..]),
        ("/unit/nginx@1.service", &["has not loaded", "unit-exclude", "nginx.service"]),
        ("/unit/na%20me.service", &["not a valid unit name"]),
        ("/unit/", &["must contain a unit name"]),
    ] {
        browser.go(&server.url(path)).await;
        let shown = browser.text("main").await;
        for hint in hints {
            assert!(shown.contains(hint), "{path}: {hint}: {shown}");
        }
    }
    browser.go(&server.url("/unit/nginx")).await;
    browser.click("main li a").await;
    assert_eq!(browser.text("h1").await, "nginx.service");
    browser.close().await;
}
