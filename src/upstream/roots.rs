//! Trusted roots of TLS connections to the upstream, and the connector that uses the newest good ones.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;
use tracing::info;

use super::connect::Connector;
use crate::body::BoxError;
use crate::given::{Given, Source};
use crate::reloading::{FileContents, Parsed, Part, Reloadable, Reloading, Settle};
use crate::watch::{self, FILE_POLL_INTERVAL};

/// Largest file of roots that is read; Mozilla's bundle has some 220 KB.
const MAX_FILE_SIZE: u64 = 4 << 20;

/// How often the system's roots are read again. They are some hundred files that change with updates of the
/// system, a few times a year; SIGHUP reads them at once.
const SYSTEM_POLL_INTERVAL: Duration = Duration::from_hours(1);

/// How long roots must stay as they are before they count: files are written in several steps.
const SETTLE: Duration = Duration::from_millis(30);

/// How long broken or missing roots must stay so before that is reported: they may be half-written.
const SETTLE_BROKEN: Duration = Duration::from_millis(250);

/// Where roots come from.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// The system's, or Mozilla's as built in if there are none.
    System,
    /// A file of PEM certificates; nothing else is trusted.
    File(Given<PathBuf>),
}

/// One version of the roots, in the configuration of the connections verified with them.
#[derive(Debug)]
pub(super) struct Roots {
    // A configuration has its own cache of TLS sessions, so a session that was verified with older roots is
    // never resumed.
    config: Arc<ClientConfig>,
    count: usize,
    built_in: bool,
}

/// Why roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file is of no use.
    #[error("{at}: {}: {reason}", path.display())]
    File {
        /// Where the file was named.
        at: Source,
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system had roots before.
    #[error("the system has no root certificates any more")]
    NoneLeft,
}

impl Reloadable for Roots {
    type Origin = Trust;
    type Error = RootsError;
    const NAME: &'static str = "upstream-roots";
    const SETTLE: Settle = Settle { good: SETTLE, broken: SETTLE_BROKEN };

    fn files(trust: &Trust) -> Vec<PathBuf> {
        match trust {
            Trust::System => Vec::new(),
            Trust::File(file) => vec![file.value.clone()],
        }
    }

    fn poll_interval(trust: &Trust) -> Duration {
        match trust {
            Trust::System => SYSTEM_POLL_INTERVAL,
            Trust::File(_) => FILE_POLL_INTERVAL,
        }
    }

    /// Reads the file, or each of the system's certificates as a part of its own.
    fn read(trust: &Trust) -> Vec<Part> {
        match trust {
            Trust::File(path) => vec![watch::read(path, MAX_FILE_SIZE)],
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                let certificates = found.certs.into_iter().map(|certificate| Ok(certificate.to_vec()));
                let errors = found.errors.into_iter().map(|error| Err(error.to_string()));
                let mut parts: Vec<Part> = certificates.chain(errors).collect();
                // The order of a directory is no change.
                parts.sort_unstable();
                parts
            }
        }
    }

    fn parse(trust: &Trust, content: FileContents<'_, Self>) -> Result<Parsed<Self>, RootsError> {
        match trust {
            Trust::File(path) => {
                let pem = content.parts[0].as_ref().map_err(Clone::clone);
                let roots = pem.and_then(|pem| from_pem(pem));
                let roots = roots.map_err(|reason| {
                    let Given { value: path, source: at } = path.clone();
                    RootsError::File { at, path, reason }
                })?;
                Ok(Parsed { value: Self::new(roots, false), warnings: Vec::new(), is_partial: false })
            }
            Trust::System => from_system(content),
        }
    }

    fn log_loaded(trust: &Trust, before: Option<&Self>, now: &Self) {
        if now.built_in {
            info!("no system root certificates, so the built-in ones are used");
        }
        if before.is_some() {
            let path = match trust {
                Trust::System => None,
                Trust::File(path) => Some(tracing::field::display(path.display())),
            };
            info!(path, certificates = now.count, "roots of the upstream reloaded");
        }
    }
}

impl Roots {
    fn new(roots: RootCertStore, built_in: bool) -> Self {
        let count = roots.len();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { config: Arc::new(config), count, built_in }
    }
}

/// Reads a file's certificates; one that is broken makes the file so.
fn from_pem(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("no certificates in it".to_owned()) } else { Ok(roots) }
}

/// Takes those of the system's certificates that can be used. Where there are none, the built-in ones are used,
/// unless there were some before.
fn from_system(content: FileContents<'_, Roots>) -> Result<Parsed<Roots>, RootsError> {
    let mut roots = RootCertStore::empty();
    let found = content.parts.iter().flatten().map(|der| CertificateDer::from_slice(der));
    roots.add_parsable_certificates(found);
    let unread = content.parts.iter().filter_map(|part| part.as_ref().err());
    let warnings = unread.map(|error| format!("a system root certificate cannot be read: {error}")).collect();
    let built_in = roots.is_empty();
    if built_in {
        if content.last.is_some_and(|last| !last.built_in) {
            return Err(RootsError::NoneLeft);
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(Parsed { value: Roots::new(roots, built_in), warnings, is_partial: false })
}

/// Makes connections to the upstream, with TLS where the URL asks for it, verified with the newest good roots.
#[derive(Debug, Clone)]
pub(super) struct SecureConnector {
    pub(super) tcp: Connector,
    pub(super) roots: Arc<Reloading<Roots>>,
}

impl Service<Uri> for SecureConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        // The connector that was polled is the one that is ready.
        let tcp = self.tcp.clone();
        let tcp = std::mem::replace(&mut self.tcp, tcp);
        HttpsConnector::from((tcp, Arc::clone(&self.roots.current().config))).call(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn parse(parts: &[Part], last: Option<&Roots>) -> Result<Parsed<Roots>, RootsError> {
        Roots::parse(&Trust::System, FileContents { parts, last, check: watch::Check::IfChanged })
    }

    #[test]
    fn system_roots_stay_when_the_system_loses_them() {
        let unread = || Err("permission denied".to_owned());
        let some = parse(&[Ok(certificate()), Ok(b"nonsense".to_vec()), unread()], None).expect("roots");
        assert_eq!((some.value.count, some.value.built_in), (1, false));
        assert_eq!(some.warnings, ["a system root certificate cannot be read: permission denied"]);
        let built_in = parse(&[unread()], None).expect("roots").value;
        assert_eq!((built_in.count, built_in.built_in), (webpki_roots::TLS_SERVER_ROOTS.len(), true));
        let still = parse(&[], Some(&built_in)).expect("roots").value;
        assert!(still.built_in);
        let error = parse(&[], Some(&some.value)).expect_err("no roots");
        assert_eq!(error.to_string(), "the system has no root certificates any more");
        assert!(!parse(&[Ok(certificate())], Some(&built_in)).expect("roots").value.built_in);
    }
}
