//! The certificate of the service port: two files, watched, and the newest pair that fits.

mod validity;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::info;

pub use self::validity::Overdue;
use self::validity::Validity;
use crate::config::Tls;
use crate::given::{Given, Source};
use crate::metrics::state::CertificateState;
use crate::reloading::{FileContents, Parsed, Part, Reloadable, Reloading, Settle};
use crate::watch::{self, Watch};

/// How long a pair must stay broken before that is reported: certificate and key are replaced one after the
/// other.
const SETTLE_BROKEN: Duration = Duration::from_secs(1);

/// Largest file that is read; a chain has some 10 KB.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Why a pair cannot be used; names the file.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {}: {reason}", path.display())]
pub struct TlsError {
    /// Where the file was named.
    pub at: Source,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The newest good certificate with its key.
#[derive(Debug)]
pub struct Certificate(Arc<Reloading<Pair>>);

/// A certificate and the key that belongs to it.
#[derive(Debug)]
struct Pair {
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

impl Certificate {
    /// Loads a pair for the first time.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn load(files: &Tls) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(Reloading::load(files.clone())?)))
    }

    /// Returns an acceptor of TLS connections that shows the newest good pair.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.current().config))
    }

    /// Checks the period of validity.
    ///
    /// # Errors
    /// If the certificate is not valid now, or will soon not be.
    pub fn check_time(&self) -> Result<(), Overdue> {
        self.0.current().check_time()
    }

    /// Returns what the metrics show.
    pub fn state(&self) -> CertificateState {
        CertificateState {
            not_after: self.0.current().validity.map(|validity| validity.not_after),
            reload_succeeded: self.0.status().in_force,
        }
    }

    /// Starts watching for another pair; `panics` counts the checks that panic.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn watch(&self, panics: Counter) -> io::Result<Watch> {
        self.0.watch(panics)
    }
}

impl Pair {
    fn check_time(&self) -> Result<(), Overdue> {
        self.validity.map_or(Ok(()), |validity| validity.check(SystemTime::now()))
    }
}

impl Reloadable for Pair {
    type Origin = Tls;
    type Error = TlsError;
    const NAME: &'static str = "certificate";
    const SETTLE: Settle = Settle { good: Duration::ZERO, broken: SETTLE_BROKEN };

    fn files(files: &Tls) -> Vec<PathBuf> {
        vec![files.cert.value.clone(), files.key.value.clone()]
    }

    fn read(files: &Tls) -> Vec<Part> {
        [&files.cert, &files.key].map(|path| watch::read(path, MAX_FILE_SIZE)).into()
    }

    fn parse(files: &Tls, content: FileContents<'_, Self>) -> Result<Parsed<Self>, TlsError> {
        let pair = parse(files, &content.parts[0], &content.parts[1])?;
        let overdue = pair.check_time().err();
        let warnings = overdue.map(|overdue| format!("{}: {overdue}", files.cert.display()));
        Ok(Parsed { value: pair, warnings: warnings.into_iter().collect(), is_partial: false })
    }

    fn log_loaded(files: &Tls, before: Option<&Self>, _: &Self) {
        if before.is_some() {
            info!(path = %files.cert.display(), "certificate reloaded");
        }
    }
}

fn parse(files: &Tls, cert: &Part, key: &Part) -> Result<Pair, TlsError> {
    let wrong = |file: &Given<PathBuf>| {
        let Given { value: path, source: at } = file.clone();
        move |reason: String| TlsError { at, path, reason }
    };
    let in_cert = || wrong(&files.cert);
    let in_key = || wrong(&files.key);
    let cert = cert.as_ref().map_err(|reason| in_cert()(reason.clone()))?;
    let key = key.as_ref().map_err(|reason| in_key()(reason.clone()))?;
    let chain = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| in_cert()(format!("not PEM: {error}")))?;
    let Some(first) = chain.first() else {
        return Err(in_cert()("no certificate in it".to_owned()));
    };
    let validity = Validity::of(first);
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| in_key()(format!("no private key: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => in_key()("it is not the key of --tls-cert".to_owned()),
            error => in_cert()(error.to_string()),
        })?;
    // The last is all that Debian's `curl --http1.0` and PHP's stream wrapper offer.
    config.alpn_protocols = [b"h2".as_slice(), b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).to_vec();
    Ok(Pair { config: Arc::new(config), validity })
}
