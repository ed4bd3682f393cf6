//! The proxy in process, on port 0, with a whitelist in a directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use catalog_proxy::app::App;
use catalog_proxy::app::AppError;
use catalog_proxy::config::{Admin, Config, Origin};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{self, Answer};
use crate::upstream::Upstream;

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub directory: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AppError>>,
}

impl Proxy {
    /// Starts a proxy that shows wp-toolkit and docker.
    pub async fn start(upstream: &Upstream) -> Self {
        Self::start_with(&upstream.url(), |_| ()).await
    }

    /// Starts a proxy with changes to its configuration.
    pub async fn start_with(upstream: &str, change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let whitelist = directory.path().join("whitelist.toml");
        fs::write(&whitelist, list(&["wp-toolkit", "docker"])).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let mut config = Config {
            listen: vec![any].into(),
            admin: Admin::Required(any).into(),
            upstream: upstream.parse::<Origin>().unwrap().into(),
            whitelist: Some(whitelist.into()),
            ..Config::default()
        };
        change(&mut config);
        let service = App::bind(&config).await.unwrap();
        let (address, admin) = (service.addresses()[0], service.admin_address().unwrap());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(service.run(async move {
            let _ = stopped.await;
        }));
        Self { address, admin, directory, stop, task }
    }

    pub async fn get(&self, target: &str) -> Answer {
        client::get(self.address, target).await
    }

    pub fn whitelist(&self) -> PathBuf {
        self.directory.path().join("whitelist.toml")
    }

    /// Replaces the whitelist in place.
    pub fn allow(&self, codes: &[&str]) {
        fs::write(self.whitelist(), list(codes)).unwrap();
    }

    /// Stops the proxy as a signal does, and checks that it ended well.
    pub async fn stop(self) {
        self.stop.send(()).expect("the proxy should still run");
        tokio::time::timeout(client::PATIENCE, self.task).await.expect("an end in time").unwrap().unwrap();
    }
}

/// The text of a whitelist.
pub fn list(codes: &[&str]) -> String {
    format!("extensions = {codes:?}\n")
}

/// A package sold by Plesk, as PHP writes it.
pub fn plesk(code: &str) -> String {
    format!(
        r#"{{"uuid":"{code}-1","code":"{code}","buy_url":"https:\/\/go.plesk.com\/buy-plesk-ext\/{code}"}}"#
    )
}

pub fn free(code: &str) -> String {
    format!(r#"{{"code":"{code}","buy_url":null,"latest_release":{{"buy_url":"https:\/\/go.plesk.com\/"}}}}"#)
}

pub fn vendor(code: &str) -> String {
    format!(r#"{{"code":"{code}","buy_url":"https:\/\/shop.example\/?to=go.plesk.com"}}"#)
}

pub fn array(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}
