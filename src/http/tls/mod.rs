//! The TLS configuration of rustls for a web configuration.

mod client_certs;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use client_certs::ClientVerifier;

use super::config::{ClientAuth, TlsConfig, WebConfig};

/// The certificate chain with its private key, from PEM text.
pub(super) fn identity(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain = certificates(certificate)?;
    if chain.is_empty() {
        return Err("contains no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => "contains no private key".to_owned(),
        error => format!("invalid private key: {error}"),
    })?;
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| format!("invalid private key: {error}"))?;
    let identity = CertifiedKey::new(chain, key);
    identity.keys_match().map_err(|error| format!("certificate and key: {error}"))?;
    Ok(identity)
}

/// The certificates in PEM text.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("invalid certificate: {error}"))
}

/// The configuration of handshakes.
#[derive(Debug)]
pub(super) struct TlsServer {
    pub(super) config: Arc<ServerConfig>,
    verifier: Option<Arc<ClientVerifier>>,
}

impl TlsServer {
    /// How long a connection with these client certificates may last; `None` for any time.
    pub(super) fn remaining(&self, client: Option<&[CertificateDer<'_>]>) -> Option<Duration> {
        self.verifier.as_ref()?.remaining(client?)
    }
}

/// The configuration of handshakes with this certificate.
pub(super) fn server(
    config: &WebConfig,
    tls: &TlsConfig,
    identity: CertifiedKey,
    client_roots: Vec<CertificateDer<'static>>,
) -> Result<TlsServer, String> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: tls.suites.clone(),
        kx_groups: tls.groups.clone(),
        ..aws_lc_rs::default_provider()
    });
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    versions.extend(tls.tls13.then_some(&version::TLS13));
    versions.extend(tls.tls12.then_some(&version::TLS12));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?;
    let mut verifier = None;
    let builder = if tls.client_auth == ClientAuth::None {
        builder.with_client_cert_verifier(Arc::new(NoClientAuth))
    } else {
        let sans = tls.client_sans.clone();
        let new = ClientVerifier::new(tls.client_auth, client_roots, sans, &provider)?;
        builder.with_client_cert_verifier(verifier.insert(Arc::new(new)).clone())
    };
    let resolver = rustls::sign::SingleCertAndKey::from(identity);
    let mut server = builder.with_cert_resolver(Arc::new(resolver));
    server.ignore_client_order = tls.server_order;
    if tls.client_auth.verifies() {
        // rustls does not verify the certificates again when a session is resumed
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    } else {
        server.session_storage = ServerSessionMemoryCache::new(MAX_SESSIONS);
    }
    if config.http2 {
        server.alpn_protocols.push(b"h2".to_vec());
    }
    server.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(TlsServer { config: Arc::new(server), verifier })
}

/// Used as the path in errors about PEM text in the configuration itself.
pub(super) fn inline() -> &'static Path {
    Path::new("inline")
}

/// TLS sessions that can be resumed; there are few scrapers.
const MAX_SESSIONS: usize = 256;
