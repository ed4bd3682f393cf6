//! `healthcheck`: asks the proxy that has the same settings whether it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::CommandError;
use crate::body::{self, BoxError};
use crate::cli::Settings;
use crate::config::Config;

/// Longest wait for the response. Container engines give a check 30 s by default.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Succeeds if the proxy responds that it is ready.
///
/// # Errors
/// If it does not respond, or is not ready.
pub(crate) fn healthcheck(settings: Settings) -> Result<(), CommandError> {
    let config = Config::load(settings)?;
    let address =
        config.listen.first().copied().map(reachable).ok_or_else(|| CommandError::failed("no address"))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::failed)?;
    let answer = runtime.block_on(async { timeout(TIMEOUT, ask(address, config.tls.is_some())).await });
    match answer {
        Ok(Ok(StatusCode::OK)) => Ok(()),
        Ok(Ok(status)) => Err(CommandError::failed(format!("{address} is not ready: {status}"))),
        Ok(Err(error)) => Err(CommandError::failed(format!("{address} cannot be asked: {error}"))),
        Err(_) => {
            Err(CommandError::failed(format!("{address} did not answer within {} s", TIMEOUT.as_secs())))
        }
    }
}

async fn ask(address: SocketAddr, tls: bool) -> Result<StatusCode, BoxError> {
    let stream = TcpStream::connect(address).await?;
    if !tls {
        return ready(stream, address).await;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let name = ServerName::IpAddress(address.ip().into());
    ready(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, address).await
}

async fn ready<S>(stream: S, address: SocketAddr) -> Result<StatusCode, BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz").header(header::HOST, address.to_string()).body(body::empty())?;
    Ok(sender.send_request(request).await?.status())
}

/// Accepts any certificate. SECURITY: the certificate has the public name, not the loopback address that is asked here;
/// nothing secret is sent, and the connection does not leave the machine.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Converts an address to listen on into one to connect to.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
