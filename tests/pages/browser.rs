//! A headless Chromium, driven through its own driver.
#![expect(clippy::disallowed_types, reason = "the browser is another program")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::error::WebDriverErrorInner;
use thirtyfour::prelude::*;

/// A browser with a profile of its own; closed by [`close`](Browser::close), and its driver ends
/// with the value, also when a test fails.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    chromedriver: Child,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn open() -> Self {
        let mut chromedriver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("this test needs Chromium and its driver: scripts/setup test");
        let lines = BufReader::new(chromedriver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let port = line.split_once("started successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("chromedriver says where it listens");
        let profile = tempfile::tempdir().unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        for argument in ARGUMENTS {
            wanted.add_arg(argument).unwrap();
        }
        wanted.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await;
        let driver = driver.expect("a browser that starts");
        Self { driver, chromedriver, _profile: profile }
    }

    pub(crate) async fn close(self) {
        // the driver that is asked is gone with the value
        self.driver.clone().quit().await.unwrap();
    }

    pub(crate) async fn go(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// What a script gives back.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.driver.execute(script, vec![]).await.unwrap().json().clone()
    }

    /// The text that is shown of what a selector finds first.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let texts = self.texts(selector).await;
        texts.into_iter().next().unwrap_or_else(|| panic!("there is no {selector}"))
    }

    /// The text that is shown of everything that a selector finds.
    pub(crate) async fn texts(&self, selector: &str) -> Vec<String> {
        let found =
            format!("return [...document.querySelectorAll({selector:?})].map(e => e.innerText)");
        serde_json::from_value(self.run(&found).await).unwrap()
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.driver.find(By::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Types into what a selector finds first, once it takes keys: what has just got the focus may
    /// not be drawn yet.
    pub(crate) async fn keys(&self, selector: &str, keys: &str) {
        let begun = Instant::now();
        loop {
            let typed = self.driver.find(By::Css(selector)).await.unwrap().send_keys(keys).await;
            match typed {
                Err(error) if begun.elapsed() < LIMIT && is_not_drawn(&error) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                typed => return typed.unwrap(),
            }
        }
    }

    /// The query of the address that is shown.
    pub(crate) async fn query(&self) -> String {
        self.run("return location.search").await.as_str().unwrap().to_owned()
    }

    /// Waits until a script says true.
    pub(crate) async fn until(&self, what: &str, condition: &str) {
        let begun = Instant::now();
        loop {
            if self.run(&format!("return ({condition})")).await == json!(true) {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A window of this size, with a light or a dark scheme preferred.
    pub(crate) async fn look(&self, width: u32, height: u32, scheme: &str) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
            }),
        )
        .await;
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
    }

    pub(crate) async fn devtools(&self, command: &str, parameters: Value) {
        self.driver.cdp().send_raw(command, parameters).await.unwrap();
    }

    /// What the browser complained of since it was last asked: refused styles, failed scripts.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.unwrap();
        log.into_iter().map(|entry| entry.message).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.chromedriver.kill();
        let _ = self.chromedriver.wait();
    }
}

fn is_not_drawn(error: &WebDriverError) -> bool {
    matches!(error.as_inner(), WebDriverErrorInner::ElementNotInteractable(_))
}

/// It talks to nobody but the tests.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

const LIMIT: Duration = Duration::from_secs(30);
