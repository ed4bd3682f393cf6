//! A certificate of the test's own, and clients that believe it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Certificate and key in files.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

impl Pair {
    /// Makes a certificate for 127.0.0.4, signed by itself, in a directory.
    pub fn new(directory: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["127.0.0.4".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pair = Self {
            cert: directory.join("cert.pem"),
            key: directory.join("key.pem"),
            der: certificate.der().clone(),
        };
        fs::write(&pair.cert, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    /// A connector for http and https that offers HTTP/2, or HTTP/1.1 alone.
    pub fn connector(&self, is_http2: bool) -> HttpsConnector<HttpConnector> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        if is_http2 { builder.enable_http2().build() } else { builder.enable_http1().build() }
    }
}
