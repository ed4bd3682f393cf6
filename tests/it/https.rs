//! The service port over TLS: by ALPN, with a certificate that is replaced while it runs.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use catalog_proxy::certificate::Certificate;
use catalog_proxy::config::Tls;
use catalog_proxy::given::{Given, Source};
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{PATIENCE, get, raw, until};
use crate::clock::Clock;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::tls::Authority;
use crate::upstream::{Upstream, status};

/// A certificate's files.
pub struct Pair {
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Pair {
    pub fn new() -> Self {
        let pair = Self { authority: Authority::new(), directory: tempfile::tempdir().unwrap() };
        pair.renew();
        pair
    }

    pub fn files(&self) -> Tls {
        let file = |name, flag| Given { value: self.path(name), source: Source::Flag(flag) };
        Tls { cert: file("cert.pem", "--tls-cert"), key: file("key.pem", "--tls-key") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes another certificate and its key, one after the other; returns the certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.authority.sign("localhost", |_| ());
        for (name, text) in [("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
            fs::write(self.path("new"), text).unwrap();
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
        certificate.der().clone()
    }

    /// Makes what connects as `localhost`, with this ALPN.
    pub fn connector(&self, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let pem = fs::read(self.authority.file()).unwrap();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// Asks on a connection of its own; returns the version, the answer and the certificate shown.
    async fn ask(
        &self,
        proxy: &Proxy,
        alpn: &[&str],
        target: &str,
    ) -> std::io::Result<(Version, Bytes, CertificateDer<'static>)> {
        self.ask_at(proxy.address, alpn, target).await
    }

    /// As [`Pair::ask`], at any port.
    async fn ask_at(
        &self,
        address: SocketAddr,
        alpn: &[&str],
        target: &str,
    ) -> std::io::Result<(Version, Bytes, CertificateDer<'static>)> {
        let stream = TcpStream::connect(address).await?;
        let stream = self.connector(alpn).connect("localhost".try_into().unwrap(), stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let request = |uri: String| Request::get(uri).header("host", "localhost").body(Empty::<Bytes>::new());
        let failed = std::io::Error::other;
        let answer = if h2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
            tokio::spawn(connection);
            let request = request(format!("https://localhost{target}")).unwrap();
            sender.send_request(request).await.map_err(failed)?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(failed)?;
            tokio::spawn(connection);
            sender.send_request(request(target.to_owned()).unwrap()).await.map_err(failed)?
        };
        let version = answer.version();
        Ok((version, answer.into_body().collect().await.map_err(failed)?.to_bytes(), shown))
    }
}

#[tokio::test]
async fn the_admin_port_shows_the_same_certificate_if_it_should() {
    let pair = Pair::new();
    let upstream = Upstream::start(|_| status(200, "application/json", b"[]")).await;
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        config.tls = Some(pair.files());
        config.access.tls = true;
    })
    .await;
    let (_, _, shown) = pair.ask(&proxy, &["h2"], "/livez").await.unwrap();
    for alpn in [["h2"], ["http/1.1"]] {
        let (_, body, on_admin) = pair.ask_at(proxy.admin, &alpn, "/livez").await.unwrap();
        assert_eq!((&*body, &on_admin), (b"ok\n".as_slice(), &shown));
        let (_, body, _) = pair.ask_at(proxy.admin, &alpn, "/api/v1/shops").await.unwrap();
        assert!(body.starts_with(b"{\"format\":2,\"shops\":["), "{body:?}");
    }
    let answer = raw(proxy.admin, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn both_versions_are_spoken_as_agreed() {
    let pair = Pair::new();
    let upstream = Upstream::start(|_| status(200, "application/json", b"[]")).await;
    let proxy = Proxy::start_with(&upstream.url(), |config| config.tls = Some(pair.files())).await;
    for (alpn, version) in [
        (["h2", "http/1.1"].as_slice(), Version::HTTP_2),
        (&["http/1.1", "h2"], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&["http/1.0"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let (spoken, body, _) = pair.ask(&proxy, alpn, "/api/v4/packages").await.unwrap();
        assert_eq!((spoken, &*body), (version, b"[]".as_slice()), "{alpn:?}");
    }
    pair.ask(&proxy, &["h2"], "/x").await.unwrap();
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
    pair.ask(&proxy, &["gopher"], "/x").await.expect_err("no protocol in common");
    // The admin port stays plain, and plain HTTP gets nothing here.
    assert_eq!(get(proxy.admin, "/livez").await.text(), "ok\n");
    let answer = raw(proxy.address, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!answer.contains("ok"), "{answer}");
}

#[tokio::test]
async fn a_new_pair_shows_and_fails_no_request() {
    let pair = Arc::new(Pair::new());
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Arc::new(Proxy::start_with(&upstream.url(), |config| config.tls = Some(pair.files())).await);
    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|n| {
            let (pair, proxy) = (Arc::clone(&pair), Arc::clone(&proxy));
            let (done, asked) = (Arc::clone(&done), Arc::clone(&asked));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let alpn = if n % 2 == 0 { ["h2"] } else { ["http/1.1"] };
                    let (_, body, _) = pair.ask(&proxy, &alpn, "/api/v4/packages").await.unwrap();
                    assert_eq!(body, "[]");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let shown = async || pair.ask(&proxy, &["h2"], "/livez").await.unwrap().2;
    for _ in 0..3 {
        let new = pair.renew();
        until("the new certificate", async || shown().await == new).await;
    }
    // Half of a pair, or nonsense, changes nothing, also while it is looked at again.
    let last = shown().await;
    fs::write(pair.path("cert.pem"), pair.authority.sign("localhost", |_| ()).0.pem()).unwrap();
    let before = asked.load(Ordering::Relaxed);
    until("requests meanwhile", async || asked.load(Ordering::Relaxed) > before + 50).await;
    assert_eq!(shown().await, last);
    fs::remove_file(pair.path("key.pem")).unwrap();
    fs::write(pair.path("cert.pem"), "nonsense").unwrap();
    until("more requests", async || asked.load(Ordering::Relaxed) > before + 100).await;
    assert_eq!(shown().await, last);
    let new = pair.renew();
    until("the pair after that", async || shown().await == new).await;
    done.store(true, Ordering::Relaxed);
    for load in load {
        load.await.unwrap();
    }
}

#[tokio::test]
async fn metrics_tell_its_end_and_a_failed_reload() {
    let pair = Pair::new();
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start_with(&upstream.url(), |config| config.tls = Some(pair.files())).await;
    let shows =
        async |line: &str| get(proxy.admin, "/metrics").await.text().lines().any(|other| other == line);
    assert!(shows("catalog_proxy_certificate_reload_succeeded 1").await);
    let (certificate, key) = pair.authority.sign("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    fs::write(pair.path("key.pem"), key.serialize_pem()).unwrap();
    fs::write(pair.path("cert.pem"), certificate.pem()).unwrap();
    let expired = "catalog_proxy_certificate_not_after_timestamp_seconds 1609459200";
    until("the end of the new one", async || shows(expired).await).await;
    fs::write(pair.path("cert.pem"), "nonsense").unwrap();
    until("a failure", async || shows("catalog_proxy_certificate_reload_succeeded 0").await).await;
    pair.renew();
    until("a good pair", async || shows("catalog_proxy_certificate_reload_succeeded 1").await).await;
}

#[tokio::test]
async fn an_expired_certificate_is_warned_about() {
    let pair = Pair::new();
    let (certificate, key) = pair.authority.sign("localhost", |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    fs::write(pair.path("key.pem"), key.serialize_pem()).unwrap();
    fs::write(pair.path("cert.pem"), certificate.pem()).unwrap();
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let Tls { cert, key } = pair.files();
    let process = Process::start_with(&upstream.url(), |command| {
        command.arg("--tls-cert").arg(&*cert).arg("--tls-key").arg(&*key);
    });
    assert!(process.log().contains("the certificate expired at 2021-01-01T00:00:00Z"), "{}", process.log());
}

#[test]
fn a_pair_that_cannot_be_used_is_an_error_at_start() {
    let check = |spoil: &dyn Fn(&Pair), part: &str| {
        let pair = Pair::new();
        spoil(&pair);
        let error = Certificate::load(&pair.files()).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    };
    let other = Pair::new();
    check(&|pair| fs::remove_file(pair.path("cert.pem")).unwrap(), "cert.pem: No such file");
    check(&|pair| fs::remove_file(pair.path("key.pem")).unwrap(), "key.pem: No such file");
    check(&|pair| fs::write(pair.path("cert.pem"), "x").unwrap(), "--tls-cert");
    check(&|pair| fs::write(pair.path("key.pem"), "x").unwrap(), "--tls-key");
    let copy = |pair: &Pair, from: PathBuf, to| {
        fs::copy(from, pair.path(to)).unwrap();
    };
    check(&|pair| copy(pair, other.path("key.pem"), "key.pem"), "it is not the key of --tls-cert");
    check(&|pair| copy(pair, pair.path("key.pem"), "cert.pem"), "no certificate in it");
    check(&|pair| copy(pair, pair.path("cert.pem"), "key.pem"), "no private key");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let pair = Pair::new();
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start_with(&upstream.url(), |config| config.tls = Some(pair.files())).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(proxy.address).await.unwrap());
    }
    assert_eq!(pair.ask(&proxy, &["h2"], "/livez").await.unwrap().1, "ok\n");
    let clock = Clock::stop();
    clock.pass(Duration::from_secs(12)).await;
    for mut stream in silent {
        let mut block = [0; 16];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut block));
        assert!(matches!(read.await.unwrap(), Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn plain_http_is_told_so() {
    let pair = Pair::new();
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start_with(&upstream.url(), |config| config.tls = Some(pair.files())).await;
    for request in ["GET /api/v4/packages HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("https://"), "{problem}");
    }
    assert_eq!(pair.ask(&proxy, &["h2"], "/livez").await.unwrap().1, "ok\n");
}

#[tokio::test]
async fn commands_work_with_it() {
    let pair = Pair::new();
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let Tls { cert, key } = pair.files();
    let process = Process::start_with(&upstream.url(), |command| {
        command.arg("--tls-cert").arg(&*cert).arg("--tls-key").arg(&*key);
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"));
    command.arg("healthcheck").args(["--listen", &process.address.to_string()]);
    let plain = command.output().unwrap();
    assert_eq!(plain.status.code(), Some(1), "{plain:?}");
    let secure = command.arg("--tls-cert").arg(&*cert).arg("--tls-key").arg(&*key).output().unwrap();
    assert_eq!(secure.status.code(), Some(0), "{secure:?}");
    fs::remove_file(&*key).unwrap();
    let broken = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
        .args(["serve", "--listen", "127.0.0.1:0", "--whitelist", "whitelist.toml", "--admin-listen", "off"])
        .arg("--tls-cert")
        .arg(&*cert)
        .arg("--tls-key")
        .arg(&*key)
        .output()
        .unwrap();
    assert_eq!(broken.status.code(), Some(2), "{broken:?}");
    assert!(String::from_utf8_lossy(&broken.stderr).contains("--tls-key: "), "{broken:?}");
}
