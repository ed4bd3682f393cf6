//! The upstream over TLS, verified against the test's own roots.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::until;
use crate::proxy::Proxy;
use crate::upstream::{converse, ok};

/// A root certificate made by the test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, directory: tempfile::tempdir().unwrap() }
    }

    /// Writes its certificate where `upstream_ca` can read it.
    pub fn file(&self) -> PathBuf {
        let path = self.directory.path().join("ca.pem");
        fs::write(&path, self.pem()).unwrap();
        path
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Makes a certificate for `name`.
    pub fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Makes a certificate for `name` and an acceptor that uses it.
    pub fn acceptor(
        &self,
        name: &str,
        alpn: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        let (certificate, key) = self.sign(name, change);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Serves a feed with a certificate for `name`; returns the port.
    pub async fn serve(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> u16 {
        listen(self.acceptor(name, &[], change), |stream| async {
            let seen = Arc::new(Mutex::new(Vec::new()));
            converse(stream, Arc::new(|_: &_| ok(b"[\"secure\"]")), seen).await;
        })
        .await
    }
}

/// Accepts connections and has each served; returns the port.
pub async fn listen<F>(
    acceptor: TlsAcceptor,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream));
            }
        }
    });
    port
}

/// Requests the feed and a file through a proxy that trusts `roots`.
async fn ask(port: u16, roots: Option<PathBuf>) -> [crate::client::Answer; 2] {
    let url = format!("https://localhost:{port}");
    let proxy = Proxy::start_with(&url, |config| config.upstream_ca = roots.map(Into::into)).await;
    [proxy.get("/api/v4/packages").await, proxy.get("/file").await]
}

#[tokio::test]
async fn a_certificate_of_a_trusted_root_is_good() {
    let authority = Authority::new();
    let port = authority.serve("localhost", |_| ()).await;
    for answer in ask(port, Some(authority.file())).await {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "[\"secure\"]"));
    }
}

#[tokio::test]
async fn any_other_certificate_is_not() {
    let authority = Authority::new();
    let good = authority.serve("localhost", |_| ()).await;
    let other_name = authority.serve("elsewhere.example", |_| ()).await;
    let expired =
        authority.serve("localhost", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).await;
    for (what, port, roots) in [
        ("an unknown root", good, None),
        ("another root", good, Some(Authority::new())),
        ("another name", other_name, Some(authority)),
    ] {
        let file = roots.as_ref().map(Authority::file);
        for answer in ask(port, file.clone()).await {
            answer.assert_problem(502);
            assert_eq!(answer.header("proxy-status"), "catalog-proxy; error=tls_certificate_error", "{what}");
        }
        if what == "another name" {
            let answer = &ask(expired, file).await[0];
            assert_eq!(
                answer.header("proxy-status"),
                "catalog-proxy; error=tls_certificate_error",
                "expired"
            );
        }
    }
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_not() {
    let upstream = crate::upstream::Upstream::with_feeds("[]", "[]").await;
    for answer in ask(upstream.address.port(), None).await {
        answer.assert_problem(502);
        assert_eq!(answer.header("proxy-status"), "catalog-proxy; error=tls_protocol_error");
    }
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", &["h2", "http/1.1"], |_| ());
    let port = listen(acceptor, |stream| async {
        let service = hyper::service::service_fn(async |request: http::Request<hyper::body::Incoming>| {
            let said = format!("[\"{:?} {}\"]", request.version(), request.uri());
            Ok::<_, std::convert::Infallible>(http::Response::new(
                http_body_util::Full::<bytes::Bytes>::from(said),
            ))
        });
        let io = hyper_util::rt::TokioIo::new(stream);
        let server = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
        drop(server.serve_connection(io, service).await);
    })
    .await;
    let [feed, file] = ask(port, Some(authority.file())).await;
    assert_eq!(feed.text(), format!("[\"HTTP/2.0 https://localhost:{port}/api/v4/packages\"]"));
    assert_eq!(file.text(), format!("[\"HTTP/2.0 https://localhost:{port}/file\"]"));
}

#[tokio::test]
async fn new_roots_count_for_new_connections_without_a_restart() {
    let (authority, other) = (Authority::new(), Authority::new());
    // Each connection carries one answer.
    let port = listen(authority.acceptor("localhost", &[], |_| ()), |mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|len| len > 0) {}
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        drop(stream.write_all(answer).await);
        drop(stream.shutdown().await);
    })
    .await;
    let roots = other.file();
    let proxy = Proxy::start_with(&format!("https://localhost:{port}"), |config| {
        config.upstream_ca = Some(roots.clone().into());
    })
    .await;
    let status = async || proxy.get("/file").await.status.as_u16();
    assert_eq!(status().await, 502, "the root is not trusted");
    fs::copy(authority.file(), &roots).unwrap();
    until("the new root", async || status().await == 200).await;
    // That this is refused shows in the log only; long after it would have counted, nothing has changed.
    fs::write(&roots, "nonsense").unwrap();
    for _ in 0..20 {
        assert_eq!(status().await, 200, "the last good roots stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fs::write(&roots, other.pem()).unwrap();
    until("the old root", async || status().await == 502).await;
    proxy.stop().await;
}
