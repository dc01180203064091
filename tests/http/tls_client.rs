//! A TLS client that accepts every server certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::Identity;
use crate::client::{Response, head, parse};

/// The parameters of the client's handshake.
pub(crate) struct TlsClient {
    pub(crate) provider: CryptoProvider,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<&'static str>,
    pub(crate) identity: Option<Identity>,
}

impl Default for TlsClient {
    fn default() -> Self {
        Self {
            provider: aws_lc_rs::default_provider(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: Vec::new(),
            identity: None,
        }
    }
}

impl TlsClient {
    pub(crate) fn with(identity: &Identity) -> Self {
        Self { identity: Some(identity.clone()), ..Self::default() }
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        connect(&self.config(), address).await
    }

    /// The configuration of the client; connections with the same one resume their sessions.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(self.provider.clone());
        let verifier = AcceptAnyCertificate(provider.clone());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            Some(identity) => {
                builder.with_client_auth_cert(identity.chain(), identity.key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub(crate) async fn get(&self, address: SocketAddr, path: &str) -> io::Result<Response> {
        self.request(address, path, &["Connection: close"]).await
    }

    pub(crate) async fn request(
        &self,
        address: SocketAddr,
        path: &str,
        lines: &[&str],
    ) -> io::Result<Response> {
        let mut stream = self.connect(address).await?;
        stream.write_all(head("GET", path, lines).as_bytes()).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await?;
        Ok(parse(&read))
    }

    /// The status of a scrape, or the alert with which the server rejected the connection.
    pub(crate) async fn scrape_status(&self, address: SocketAddr) -> Result<u16, AlertDescription> {
        match self.get(address, "/metrics").await {
            Ok(response) => Ok(response.status),
            Err(error) => Err(alert(&error)),
        }
    }

    /// The negotiated cipher suite and protocol version.
    pub(crate) async fn negotiated(
        &self,
        address: SocketAddr,
    ) -> io::Result<(rustls::CipherSuite, ProtocolVersion)> {
        let stream = self.connect(address).await?;
        let session = stream.get_ref().1;
        let suite = session.negotiated_cipher_suite().unwrap().suite();
        Ok((suite, session.protocol_version().unwrap()))
    }

    /// The certificate that the server presents.
    pub(crate) async fn server_certificate(
        &self,
        address: SocketAddr,
    ) -> io::Result<CertificateDer<'static>> {
        let stream = self.connect(address).await?;
        Ok(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
    }
}

pub(crate) async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config.clone()).connect(name, stream).await
}

pub(crate) fn alert(error: &io::Error) -> AlertDescription {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::AlertReceived(alert)) => *alert,
        _ => panic!("expected an alert, got {error:?}"),
    }
}

#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
