//! The certificate that the service port shows: two files, watched, and the newest pair that fits.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::validity::{Overdue, Validity};
use crate::config::Tls;
use crate::given::{Given, Source};
use crate::metrics::state::CertificateState;
use crate::watch::{self, Watch};

/// How long a pair must stay broken before that is reported: certificate and key are replaced one after the
/// other.
const SETTLE: Duration = Duration::from_secs(1);

/// Most times in a row that a broken pair is found changed again before it is reported.
const MAX_SETTLE_ROUNDS: usize = 8;

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
pub struct Certificate {
    files: Tls,
    current: ArcSwap<Pair>,
    /// Is what the files say now in use?
    reload_succeeded: AtomicBool,
    /// What the files were like when they were last looked at; only the watching thread takes it for long.
    seen: Mutex<Content>,
}

/// A certificate and key that fit.
#[derive(Debug)]
struct Pair {
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

/// Both files' bytes, or why there are none.
type Content = [Result<Vec<u8>, String>; 2];

impl Certificate {
    /// Loads a pair for the first time.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn load(files: &Tls) -> Result<Arc<Self>, TlsError> {
        let content = read(files);
        let certificate = Self {
            files: files.clone(),
            current: ArcSwap::from_pointee(parse(files, &content)?),
            reload_succeeded: AtomicBool::new(true),
            seen: Mutex::new(content),
        };
        certificate.warn();
        Ok(Arc::new(certificate))
    }

    /// Returns what makes secure connections, with the newest good pair.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }

    /// Tells whether something is to be done about its time.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_time(&self) -> Result<(), Overdue> {
        self.current.load().validity.map_or(Ok(()), |validity| validity.check(SystemTime::now()))
    }

    /// Returns what metrics tell.
    pub fn state(&self) -> CertificateState {
        CertificateState {
            not_after: self.current.load().validity.map(|validity| validity.not_after),
            reload_succeeded: self.reload_succeeded.load(Ordering::Relaxed),
        }
    }

    fn warn(&self) {
        if let Err(overdue) = self.check_time() {
            warn!(path = %self.files.cert.display(), "{overdue}");
        }
    }

    /// Starts watching for another pair.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn watch(self: &Arc<Self>) -> io::Result<Watch> {
        let certificate = Arc::clone(self);
        let Tls { cert, key } = self.files.clone();
        Watch::start("certificate", vec![cert.value, key.value], move |force| certificate.check(force))
    }

    /// Looks at the files and loads them if they changed, or in any case with `force`.
    fn check(&self, force: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut content = read(&self.files);
        if !force && content == *seen {
            return;
        }
        let mut parsed = parse(&self.files, &content);
        for _ in 0..MAX_SETTLE_ROUNDS {
            if parsed.is_ok() {
                break;
            }
            thread::sleep(SETTLE);
            let again = read(&self.files);
            if again == content {
                break;
            }
            content = again;
            parsed = parse(&self.files, &content);
        }
        *seen = content;
        self.reload_succeeded.store(parsed.is_ok(), Ordering::Relaxed);
        match parsed {
            Ok(pair) => {
                self.current.store(Arc::new(pair));
                info!(path = %self.files.cert.display(), "certificate reloaded");
                self.warn();
            }
            Err(error) => warn!(%error, "certificate not reloaded, the last good one stays"),
        }
    }
}

fn read(files: &Tls) -> Content {
    [&files.cert, &files.key].map(|path| watch::read(path, MAX_FILE_SIZE))
}

fn parse(files: &Tls, [cert, key]: &Content) -> Result<Pair, TlsError> {
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
