//! A headless Chromium, driven through chromedriver.
#![expect(clippy::disallowed_types, reason = "starts chromedriver")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::error::WebDriverErrorInner;
use thirtyfour::prelude::*;

/// A browser with a temporary profile. [`close`](Browser::close) ends the session; chromedriver is
/// killed on drop, also when a test fails.
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
        let port = port.expect("no port in chromedriver's output");
        let profile = tempfile::tempdir().unwrap();
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in ARGUMENTS {
            capabilities.add_arg(argument).unwrap();
        }
        capabilities.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await;
        let driver = driver.expect("the browser does not start");
        Self { driver, chromedriver, _profile: profile }
    }

    pub(crate) async fn close(self) {
        // `quit` takes the driver by value
        self.driver.clone().quit().await.unwrap();
    }

    pub(crate) async fn go(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// Runs a script and returns its result.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.driver.execute(script, vec![]).await.unwrap().json().clone()
    }

    /// The visible text of the first element that matches a selector.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let texts = self.texts(selector).await;
        texts.into_iter().next().unwrap_or_else(|| panic!("no element matches {selector}"))
    }

    /// The visible text of each element that matches a selector.
    pub(crate) async fn texts(&self, selector: &str) -> Vec<String> {
        let script =
            format!("return [...document.querySelectorAll({selector:?})].map(e => e.innerText)");
        serde_json::from_value(self.run(&script).await).unwrap()
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.driver.find(By::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Types into the first element that matches a selector, once it accepts keys: an element that
    /// has just received the focus may not be rendered yet.
    pub(crate) async fn keys(&self, selector: &str, keys: &str) {
        let start = Instant::now();
        loop {
            let typed = self.driver.find(By::Css(selector)).await.unwrap().send_keys(keys).await;
            match typed {
                Err(error) if start.elapsed() < WAIT_TIMEOUT && is_not_interactable(&error) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                typed => return typed.unwrap(),
            }
        }
    }

    /// The query string of the current URL.
    pub(crate) async fn query(&self) -> String {
        self.run("return location.search").await.as_str().unwrap().to_owned()
    }

    /// Waits until a JavaScript condition is true.
    pub(crate) async fn until(&self, state: &str, condition: &str) {
        let start = Instant::now();
        loop {
            if self.run(&format!("return ({condition})")).await == json!(true) {
                return;
            }
            assert!(start.elapsed() < WAIT_TIMEOUT, "not within {WAIT_TIMEOUT:?}: {state}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the table of units has `count` rows.
    pub(crate) async fn until_rows(&self, count: usize) {
        let condition = format!("document.querySelectorAll('.units tbody tr').length === {count}");
        self.until(&format!("{count} units are listed"), &condition).await;
    }

    /// Sets the size of the window and the preferred color scheme.
    pub(crate) async fn set_viewport(&self, width: u32, height: u32, scheme: &str) {
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

    /// Messages in the browser's log since the last call, such as blocked styles and script errors.
    pub(crate) async fn log_messages(&self) -> Vec<String> {
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

fn is_not_interactable(error: &WebDriverError) -> bool {
    matches!(error.as_inner(), WebDriverErrorInner::ElementNotInteractable(_))
}

/// The browser sends no requests except those of the tests.
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

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
