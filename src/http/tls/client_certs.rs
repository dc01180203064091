//! Verification of client certificates.

use std::net::IpAddr;
use std::sync::Arc;

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
pub(super) struct ClientVerifier {
    policy: ClientAuth,
    roots: Vec<CertificateDer<'static>>,
    /// `None` if the policy requires no verification or there are no usable roots.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    sans: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    pub(super) fn new(
        policy: ClientAuth,
        roots: Vec<CertificateDer<'static>>,
        sans: Vec<String>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(roots.iter().cloned());
        let chains = if policy.verifies() && added > 0 {
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone());
            Some(builder.build().map_err(|error| error.to_string())?)
        } else {
            None
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { policy, roots, chains, sans, algorithms })
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if !self.policy.verifies() {
            return Ok(());
        }
        if self.roots.iter().any(|root| root == leaf) {
            return check_validity(leaf, now);
        }
        let unknown = || Error::from(CertificateError::UnknownIssuer);
        let chains = self.chains.as_ref().ok_or_else(unknown)?;
        chains.verify_client_cert(leaf, intermediates, now).map(|_| ())
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

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.policy.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.as_ref().map_or(&[], |chains| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)?;
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

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = parse(certificate)?;
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
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
