//! A proxy whose admin port lets people edit, and requests to it.

use std::fs;
use std::path::{Path, PathBuf};

use catalog_proxy::config::Config;
use http::Request;
use serde_json::{Value, json};

use crate::client::{self, Answer};
use crate::proxy::{Proxy, array, free, list, plesk, vendor};
use crate::upstream::Upstream;

/// The editor's token, and the viewer's; each with its SHA-256.
pub const EDITOR: &str = "editor-editor-editor-editor-editor-editor-e";
pub const VIEWER: &str = "viewer-viewer-viewer-viewer-viewer-viewer-v";

/// The catalog: two sold by Plesk, one free, one sold by its vendor.
pub fn catalog() -> String {
    array(&[plesk("docker"), plesk("xovi"), free("git"), vendor("juggernaut")])
}

/// Returns the line of a tokens file for a name and token.
pub fn token_line(name: &str, token: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} = \"sha256:{hex}\"\n")
}

/// A proxy with an editor called alice, and the shop gold.
pub struct AdminPort {
    pub proxy: Proxy,
    pub files: tempfile::TempDir,
    _upstream: Upstream,
}

impl AdminPort {
    /// Starts it with a cache directory.
    pub async fn start() -> Self {
        Self::start_with(|_, _| ()).await
    }

    /// Starts it with changes to its configuration, which may use its files.
    pub async fn start_with(change: impl FnOnce(&mut Config, &Path)) -> Self {
        Self::over(&catalog(), change).await
    }

    /// Starts it over another catalog.
    pub async fn over(catalog: &str, change: impl FnOnce(&mut Config, &Path)) -> Self {
        let categories = format!(r#"[{{"code":"c","top_packages":{catalog}}}]"#);
        let upstream = Upstream::with_feeds(catalog.to_owned(), categories).await;
        let files = tempfile::tempdir().unwrap();
        for directory in ["shops", "cache"] {
            fs::create_dir(files.path().join(directory)).unwrap();
        }
        fs::write(files.path().join("shops/gold.toml"), list(&["xovi"])).unwrap();
        let tokens = format!("[editors]\n{}bob = \"header\"\n", token_line("alice", EDITOR));
        fs::write(files.path().join("tokens.toml"), tokens).unwrap();
        let path = files.path().to_owned();
        let proxy = Proxy::start_with(&upstream.url(), move |config| {
            fs::write(config.whitelist.as_deref().unwrap(), list(&["docker"])).unwrap();
            config.shops = Some(path.join("shops").into());
            config.cache_dir = Some(path.join("cache").into());
            config.access.tokens = Some(path.join("tokens.toml").into());
            change(config, &path);
        })
        .await;
        Self { proxy, files, _upstream: upstream }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Returns the default shop's whitelist.
    pub fn list(&self) -> String {
        fs::read_to_string(self.proxy.whitelist()).unwrap()
    }

    /// Sends a request with the given fields; the default `Host` is the port's address.
    pub async fn call(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        client::request(self.proxy.admin, request.body(body.to_owned().into()).unwrap()).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.call("GET", target, &[], "").await
    }

    /// Returns the digest of a shop's list in force.
    pub async fn digest(&self, shop: &str) -> String {
        let answer = self.get(&format!("/api/v1/packages?shop={shop}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        body(&answer)["digest"].as_str().unwrap().to_owned()
    }

    /// Makes an edit as alice, based on a digest.
    pub async fn edit(&self, based_on: &str, wanted: &Value) -> Answer {
        self.change("/api/v1/edits", based_on, wanted).await
    }

    /// Sends a change as alice.
    pub async fn change(&self, target: &str, based_on: &str, wanted: &Value) -> Answer {
        let tag = format!("\"{based_on}\"");
        let fields = [
            ("authorization", &*format!("Bearer {EDITOR}")),
            ("content-type", "application/json"),
            ("if-match", &tag),
        ];
        self.call("POST", target, &fields, &wanted.to_string()).await
    }

    /// Returns the lines of the edit log.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("cache/edits.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns what customers of a prefix see.
    pub async fn shown(&self, prefix: &str) -> String {
        self.proxy.get(&format!("{prefix}/api/v4/packages")).await.text().to_owned()
    }
}

/// Returns an answer's JSON.
pub fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Returns the wish to show a code in the default shop.
pub fn show(code: &str) -> Value {
    json!({ "show": [code] })
}
