//! The TLS configuration of rustls for a web configuration.

mod client_certs;

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

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

/// The configuration of handshakes with this certificate.
pub(super) fn server(
    config: &WebConfig,
    tls: &TlsConfig,
    identity: CertifiedKey,
    client_roots: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, String> {
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
    let builder = if tls.client_auth == ClientAuth::None {
        builder.with_client_cert_verifier(Arc::new(NoClientAuth))
    } else {
        let sans = tls.client_sans.clone();
        let verifier =
            client_certs::ClientVerifier::new(tls.client_auth, client_roots, sans, &provider)?;
        builder.with_client_cert_verifier(Arc::new(verifier))
    };
    let resolver = rustls::sign::SingleCertAndKey::from(identity);
    let mut server = builder.with_cert_resolver(Arc::new(resolver));
    server.ignore_client_order = tls.server_order;
    server.session_storage = ServerSessionMemoryCache::new(MAX_SESSIONS);
    if config.http2 {
        server.alpn_protocols.push(b"h2".to_vec());
    }
    server.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(server)
}

/// Used as the path in errors about PEM text in the configuration itself.
pub(super) fn inline() -> &'static Path {
    Path::new("inline")
}

/// TLS sessions that can be resumed; there are few scrapers.
const MAX_SESSIONS: usize = 256;
