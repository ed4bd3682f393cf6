//! A proxy with two shops and people with tokens, in front of a catalog that a test makes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::upstream::{Upstream, ok};

pub const EDITOR: &str = "token-of-alice";
pub const VIEWER: &str = "token-of-bob";

/// The running proxy. It ends with the test.
pub struct Site {
    child: Child,
    /// Where Plesk servers ask.
    service: String,
    /// Set once the catalog has all of its packages.
    is_complete: Arc<AtomicBool>,
    directory: tempfile::TempDir,
    pub origin: String,
    _upstream: Upstream,
}

/// What is started.
#[derive(Default)]
pub struct Setup {
    pub packages: Vec<Value>,
    /// True if nobody may edit: there is no tokens file.
    pub without_tokens: bool,
    /// True if reading needs a token.
    pub viewers: bool,
    /// Packages that come into the catalog later.
    pub late: usize,
}

impl Setup {
    pub async fn start(self) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("shops")).unwrap();
        fs::write(path("shops/gold.toml"), "extensions = [\n  \"alpha\",\n]\nretired = [\"delta\"]\n")
            .unwrap();
        fs::write(path("shops/silver.toml"), "extensions = []\n").unwrap();
        let line = |name: &str, token: &str| {
            let hash: String =
                digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{name} = \"sha256:{hash}\"\n")
        };
        let viewers =
            if self.viewers { format!("[viewers]\n{}", line("bob", VIEWER)) } else { String::new() };
        fs::write(path("tokens.toml"), format!("[editors]\n{}{viewers}", line("alice", EDITOR))).unwrap();
        let packages = if self.packages.is_empty() { catalog() } else { self.packages };
        let top: Vec<_> =
            packages.iter().take(4).map(|p| json!({ "code": p["code"], "name": p["name"] })).collect();
        let categories = json!([{ "code": "tools", "name": "Tools", "top_packages": top }]).to_string();
        // serde_json has no lone surrogates; PHP writes them.
        let json = |packages: &[Value]| Value::from(packages).to_string().replace("LONE", "\\ud800");
        let (all, early) = (json(&packages), json(&packages[self.late..]));
        let is_complete = Arc::new(AtomicBool::new(self.late == 0));
        let completed = Arc::clone(&is_complete);
        let upstream = Upstream::start(move |request| {
            let packages = if completed.load(Ordering::SeqCst) { &all } else { &early };
            let is_packages = request.target.contains("/packages");
            ok(if is_packages { packages } else { &categories }.as_bytes())
        });
        let upstream = upstream.await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"));
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .args(["--whitelist", "off", "--upstream", &upstream.url()])
            .args(["--shops", "shops", "--cache-dir", "cache", "--min-fresh-for", "1s", "--fresh-for", "1s"])
            .current_dir(directory.path())
            .stderr(Stdio::piped());
        if !self.without_tokens {
            command.args(["--admin-tokens", "tokens.toml"]);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let addresses = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            Some((line["listen"].as_str()?.to_owned(), line["admin"].as_str()?.to_owned()))
        });
        let (service, admin) = addresses.expect("its addresses");
        std::thread::spawn(move || lines.for_each(drop));
        let origin = format!("http://{admin}");
        Site { child, service, is_complete, origin, directory, _upstream: upstream }
    }
}

impl Site {
    /// Opens the page in a browser, signed in as an editor, with the shop gold.
    pub async fn browse(&self, width: u32) -> Browser {
        let browser = Browser::start(&self.origin, width).await;
        browser.open(&format!("#token={EDITOR}")).await;
        browser.until_text("alice").await;
        browser.until("document.querySelectorAll('.packages [role=row]').length > 1").await;
        browser
    }

    /// Asks for the catalog as a server of gold does.
    pub async fn ask_as_server(&self) {
        let query = "with-details=link&platform=unix&with-hidden&with-unstable&locale=en-US";
        get(format!("http://{}/gold/api/v4/packages?{query}", self.service)).await;
    }

    /// Returns the news as the API has them.
    pub async fn news(&self) -> String {
        get(format!("{}/api/v1/news", self.origin)).await
    }

    /// Lets the late packages come into the catalog.
    pub fn complete(&self) {
        self.is_complete.store(true, Ordering::SeqCst);
    }

    pub fn list(&self, shop: &str) -> String {
        fs::read_to_string(self.path(shop)).unwrap()
    }

    pub fn path(&self, shop: &str) -> PathBuf {
        self.directory.path().join(format!("shops/{shop}.toml"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks as a program that is no browser.
async fn get(url: String) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail", "-A", "plesk", &url]);
    // The upstream answers on this thread meanwhile.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A small catalog: two of Plesk's, one of a vendor, a free one, and one that gold has retired.
pub fn catalog() -> Vec<Value> {
    vec![
        package("alpha", "Alpha Backup", Some("https://go.plesk.com/alpha")),
        package("beta", "Bêta Shield", Some("https://go.plesk.com/beta")),
        package("gamma", "Gamma Mail", Some("https://shop.gamma.example/buy")),
        package("delta", "Delta Stats", Some("https://go.plesk.com/delta")),
        package("epsilon", "Epsilon Git", None),
    ]
}

pub fn package(code: &str, name: &str, buy_url: Option<&str>) -> Value {
    json!({ "code": code, "name": name, "uuid": format!("uuid-{code}"), "buy_url": buy_url })
}

/// A row of the catalog in the page, as an expression.
pub fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('.packages [role=row]')].find((row) => row.textContent.includes({}))",
        json!(name)
    )
}

/// What a row says of the state, as an expression.
pub fn state(name: &str) -> String {
    format!("{}?.querySelector('.state').textContent", row(name))
}
