//! Accessibility: the rules of axe-core, keyboard-only use, narrow windows.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::page_server::{PageData, PageServer};

#[tokio::test(flavor = "multi_thread")]
async fn axe_reports_no_violations_on_any_status_page() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/npm/node_modules/axe-core/axe.min.js");
    let axe = std::fs::read_to_string(path).expect("this test needs axe-core: scripts/setup test");
    let server = PageServer::start(PageData::golden());
    let browser = Browser::open().await;
    let mut rules = 0;
    for path in PAGES {
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light")] {
            browser.set_viewport(width, 900, scheme).await;
            browser.go(&server.url(path)).await;
            browser.run("document.querySelectorAll('details').forEach(details => { details.open = true })").await;
            browser.run(&axe).await;
            let report = "axe.run().then(report => arguments[0]([report.passes.length, report.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html + ' ' + n.failureSummary)])]))";
            let report = browser.driver.execute_async(report, vec![]).await.unwrap();
            let report: &Value = report.json();
            rules += report[0].as_u64().unwrap();
            let violations = report[1].as_array().unwrap();
            assert!(violations.is_empty(), "{path}, {width}, {scheme}: {violations:#?}");
        }
    }
    println!("axe: {rules} rules passed on {} pages in 3 layouts, no violations", PAGES.len());
    assert!(rules > 100, "{rules}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_pages_are_usable_by_keyboard_alone() {
    let server = PageServer::start(PageData::many(300));
    let browser = Browser::open().await;
    browser.go(&server.url("/")).await;
    browser.keys("body", "\u{e004}").await; // tab
    assert_eq!(browser.run("return document.activeElement.className").await, json!("skip"));
    browser.keys(".skip", "\u{e007}").await; // enter
    assert_eq!(browser.run("return location.hash").await, json!("#main"));
    browser.keys("#sort-name", "\u{e007}").await;
    browser
        .until(
            "the table is sorted by name",
            "document.querySelector('#sort-name').parentElement.ariaSort === 'ascending'",
        )
        .await;
    browser.keys("#q", "0299\u{e007}").await;
    browser.until_rows(1).await;
    browser.keys(".units tbody a", "\u{e007}").await;
    browser
        .until(
            "the unit's page is open",
            "document.querySelector('h1').textContent === 'application-0299.service'",
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_overflows_a_narrow_window() {
    let server = PageServer::start(PageData::golden());
    let browser = Browser::open().await;
    for width in [320, 390, 768, 1280] {
        browser.set_viewport(width, 800, "light").await;
        for path in PAGES {
            browser.go(&server.url(path)).await;
            let overflowing = browser.run(OVERFLOWING_ELEMENTS).await;
            assert_eq!(overflowing, json!([]), "{path} at {width}");
        }
    }
    browser.close().await;
}

/// Elements that reach beyond the window, if the page overflows.
const OVERFLOWING_ELEMENTS: &str = "const width = document.documentElement.clientWidth;
    return document.documentElement.scrollWidth <= width ? [] : [...document.querySelectorAll('main *')]
        .filter(e => e.getBoundingClientRect().right > width).map(e => e.outerHTML.slice(0, 120))";

const PAGES: [&str; 6] = [
    "/",
    "/?q=no+such+thing",
    "/unit/nginx.service",
    "/unit/crash.service",
    "/unit/nope",
    "/reference",
];
