//! Verification of client certificates.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::http::config::ClientAuth;

/// Accepts the same as Go: a chain to one of the roots, or a certificate that is itself one of the
/// roots, whatever its key usage.
#[derive(Debug)]
pub(in crate::http) struct ClientVerifier {
    policy: ClientAuth,
    roots: Vec<Root>,
    subjects: Vec<DistinguishedName>,
    sans: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A certificate of the CA file. Each has a verifier, because rustls ignores the validity of roots.
#[derive(Debug)]
struct Root {
    certificate: CertificateDer<'static>,
    /// `None` for a certificate that cannot issue others.
    chains: Option<Arc<dyn ClientCertVerifier>>,
}

impl ClientVerifier {
    pub(super) fn new(
        policy: ClientAuth,
        roots: Vec<CertificateDer<'static>>,
        sans: Vec<String>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let roots = if policy.verifies() { roots } else { Vec::new() };
        let roots = roots.into_iter().map(|root| Root::new(root, provider));
        let roots = roots.collect::<Result<Vec<_>, _>>()?;
        let chains = roots.iter().filter_map(|root| root.chains.as_ref());
        let subjects = chains.flat_map(|chains| chains.root_hint_subjects().to_vec()).collect();
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { policy, roots, subjects, sans, algorithms })
    }

    /// How long the certificates of a client remain valid; `None` if they are not verified.
    pub(in crate::http) fn remaining(&self, chain: &[CertificateDer<'_>]) -> Option<Duration> {
        let (leaf, intermediates) = chain.split_first().filter(|_| self.policy.verifies())?;
        let now = UnixTime::now();
        let end = self.verify(leaf, intermediates, now).unwrap_or(0);
        Some(Duration::from_secs(end.saturating_sub(now.as_secs())))
    }

    /// The time until which the certificates are valid, in seconds.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<u64, Error> {
        if self.roots.iter().any(|root| root.certificate == *leaf) {
            return end_of_validity(leaf, now);
        }
        let mut failed = Error::from(CertificateError::UnknownIssuer);
        let mut end = None;
        for root in &self.roots {
            let Some(chains) = &root.chains else { continue };
            let verified = chains.verify_client_cert(leaf, intermediates, now);
            match verified.and_then(|_| end_of_validity(&root.certificate, now)) {
                Ok(root_end) => end = end.max(Some(root_end)),
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => failed = error,
            }
        }
        let end = end.ok_or(failed)?;
        let chain = [leaf].into_iter().chain(intermediates);
        let ends = chain.filter_map(|certificate| end_of_validity(certificate, now).ok());
        Ok(ends.fold(end, u64::min))
    }

    fn verify_san(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        if self.sans.is_empty()
            || alternative_names(leaf)?.iter().any(|name| self.sans.contains(name))
        {
            return Ok(());
        }
        Err(CertificateError::NotValidForName.into())
    }
}

impl Root {
    fn new(
        certificate: CertificateDer<'static>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates([certificate.clone()]);
        let build = || {
            let store = Arc::new(store);
            WebPkiClientVerifier::builder_with_provider(store, provider.clone()).build()
        };
        let chains = (added > 0).then(build).transpose().map_err(|error| error.to_string())?;
        Ok(Self { certificate, chains })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.policy.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.policy.verifies() {
            self.verify(end_entity, intermediates, now)?;
        }
        self.verify_san(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let read = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(read.1)
}

/// The last second in which the certificate is valid, if it is valid now.
fn end_of_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<u64, Error> {
    let certificate = parse(certificate)?;
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    let end = validity.not_after.timestamp();
    u64::try_from(end).ok().filter(|_| now <= end).ok_or_else(|| CertificateError::Expired.into())
}

/// The subject alternative names of a certificate: DNS, e-mail, IP and URI.
fn alternative_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Error> {
    let certificate = parse(certificate)?;
    let extension =
        certificate.subject_alternative_name().map_err(|_| CertificateError::BadEncoding)?;
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names.filter_map(name_text).collect())
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
            let address = v4.or_else(|| <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from));
            address.map(|address| address.to_string())
        }
        _ => None,
    }
}
