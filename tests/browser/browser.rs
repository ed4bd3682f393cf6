//! A browser of one test: headless chromium, driven over WebDriver.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use thirtyfour::error::{WebDriverError, WebDriverResult};
use thirtyfour::session::http::{Body, HttpClient};
use thirtyfour::{Capabilities, Key, WebDriver};

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A running browser.
pub struct Browser {
    driver: WebDriver,
    process: Child,
    /// Origin of the page under test.
    origin: String,
}

impl Browser {
    /// Starts a browser with a window of some width, for pages of `origin`.
    pub async fn start(origin: &str, width: u32) -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver: install chromium and chromium-driver");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let started = lines.map_while(Result::ok).find_map(|line| {
            Some(line.split_once("started successfully on port ")?.1.trim_end_matches('.').to_owned())
        });
        let server = format!("http://127.0.0.1:{}", started.expect("a port"));
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--window-size=1440,900",
        ];
        let capabilities: Capabilities = serde_json::from_value(json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }))
        .unwrap();
        let driver = WebDriver::builder(server, capabilities).client(DriverClient::new()).connect().await;
        let browser = Self { driver: driver.expect("a browser"), process, origin: origin.to_owned() };
        browser.emulate(width, "light").await;
        browser
    }

    /// Sets the window's width and the colours that the person prefers.
    pub async fn emulate(&self, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        self.command("Emulation.setEmulatedMedia", features).await;
    }

    async fn command(&self, name: &str, parameters: Value) {
        self.driver.cdp().send_raw(name, parameters).await.unwrap();
    }

    /// Opens a fragment of the page.
    pub async fn open(&self, fragment: &str) {
        self.driver.goto(format!("{}/{fragment}", self.origin)).await.unwrap();
    }

    /// Opens a fragment of the page as soon as somebody listens.
    pub async fn open_when_there(&self, fragment: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.driver.goto(format!("{}/{fragment}", self.origin)).await.is_err() {
            assert!(Instant::now() < deadline, "nobody listens at {}", self.origin);
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn reload(&self) {
        self.driver.refresh().await.unwrap();
    }

    /// Evaluates an expression in the page.
    pub async fn eval(&self, expression: &str) -> Value {
        let script = format!("return {expression};");
        self.driver
            .execute(script, vec![])
            .await
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
            .json()
            .clone()
    }

    /// Runs a script that calls back with its result.
    pub async fn call(&self, script: &str) -> Value {
        self.driver.execute_async(script, vec![]).await.unwrap().json().clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.eval(&format!("!!({expression})")).await != true {
            if Instant::now() > deadline {
                let text = self.eval("document.body.innerText").await;
                panic!("it never came to be: {expression}\n{}", text.as_str().unwrap_or_default());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the page shows a text.
    pub async fn until_text(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Clicks on the last thing that a selector finds and that has a text, as soon as it is there.
    pub async fn click(&self, selector: &str, text: &str) {
        let last = format!(
            "[...document.querySelectorAll({})].filter((e) => e.checkVisibility() && e.textContent.includes({})).at(-1)",
            json!(selector),
            json!(text)
        );
        self.until(&last).await;
        // Clicks of the driver itself fail beneath the tray; those of people land after scrolling.
        self.eval(&format!("{last}.scrollIntoView({{ block: 'center' }})")).await;
        let script = format!("return {last};");
        let element = self.driver.execute(script, vec![]).await.unwrap().element().unwrap();
        element.click().await.unwrap_or_else(|error| panic!("{selector} {text}: {error}"));
    }

    /// Types into what has the focus.
    pub async fn press(&self, keys: impl Into<thirtyfour::TypingData>) {
        self.driver.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// Presses Tab until what has the focus fulfils an expression with `e`.
    pub async fn tab_to(&self, test: &str) {
        for _ in 0..200 {
            self.driver.action_chain().send_keys(Key::Tab).perform().await.unwrap();
            if self.eval(&format!("((e) => {test})(document.activeElement)")).await == true {
                return;
            }
        }
        panic!("no Tab leads to {test}");
    }

    /// Returns what the driver has logged of a kind since the last call.
    async fn log(&self, kind: &str) -> Vec<String> {
        let entries = self.driver.get_log(kind).await.unwrap();
        entries.into_iter().map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    /// Ends the browser, and fails on errors, on violations of the policy and on requests to others. Answers of the
    /// API with a status of `expected` are no errors.
    pub async fn finish(self, expected: &[u16]) {
        self.finish_with(expected, &[]).await;
    }

    /// As [`Self::finish`], where paths that begin with one of `missing` may not be there.
    pub async fn finish_with(mut self, expected: &[u16], missing: &[&str]) {
        let is_expected = |line: &str| {
            let status =
                |status: &u16| line.contains(&format!("the server responded with a status of {status}"));
            let is_missing = |path: &&str| line.contains(&format!("{}{path}", self.origin));
            (line.contains("/api/v1/") && expected.iter().any(status)) || missing.iter().any(is_missing)
        };
        let mut errors = self.log("browser").await;
        errors.retain(|line| !is_expected(line));
        assert!(errors.is_empty(), "{errors:#?}");
        let mut asked = 0;
        for line in self.log("performance").await {
            let event: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
            let event = &event["message"];
            if event["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let url = event["params"]["request"]["url"].as_str().unwrap();
            assert!(url.starts_with(&format!("{}/", self.origin)) || url == "data:,", "asked {url}");
            assert!(!url.contains("token"), "a token was sent in {url}");
            asked += 1;
        }
        assert!(asked > 0, "no request was seen");
        self.driver.clone().quit().await.unwrap();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Browser {
    /// After a failure too, no browser stays behind: the driver ends its own when told to.
    fn drop(&mut self) {
        let _ = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.process.id())])
            .stderr(Stdio::null())
            .status();
        let _ = self.process.wait();
    }
}

/// The driver's client, on the HTTP stack that the proxy has anyway.
struct DriverClient(Client<HttpConnector, Full<Bytes>>);

impl DriverClient {
    fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

#[async_trait]
impl HttpClient for DriverClient {
    async fn send(&self, request: Request<Body<'_>>) -> WebDriverResult<Response<Bytes>> {
        let failed = |error: &dyn std::error::Error| WebDriverError::HttpError(error.to_string());
        let request = request.map(|body| match body {
            Body::Empty => Full::default(),
            Body::Json(value) => Full::from(value.to_string()),
        });
        let (head, body) = self.0.request(request).await.map_err(|error| failed(&error))?.into_parts();
        let body = body.collect().await.map_err(|error| failed(&error))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn new(&self) -> Arc<dyn HttpClient> {
        Arc::new(Self::new())
    }
}
