//! Certificates made for one test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// A self-signed server certificate for localhost.
pub(crate) fn server() -> Identity {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    Identity { certificate, key: key.serialize_pem() }
}

/// A client certificate that signed itself and says that it is a CA.
pub(crate) fn selfsigned_client(names: &[&str]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = params(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap().pem();
    Identity { certificate, key: key.serialize_pem() }
}

/// A CA and a client certificate that it issued.
pub(crate) fn issued_client(names: &[&str]) -> (String, Identity) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    // two CAs of one name would be told apart by their signatures only
    let name = ca_key.public_key_raw().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    ca.distinguished_name.push(DnType::CommonName, &name[..32]);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::from_params(&ca, &ca_key);
    let key = KeyPair::generate().unwrap();
    let mut params = params(names);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    (ca_pem, Identity { certificate, key: key.serialize_pem() })
}

/// A self-signed client certificate of another time.
pub(crate) fn expired_client() -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = params(&["old"]);
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let certificate = params.self_signed(&key).unwrap().pem();
    Identity { certificate, key: key.serialize_pem() }
}

/// Names with an `@` are e-mail addresses, with `://` URIs; the rest is DNS or an IP address.
fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names
        .iter()
        .map(|name| match name {
            name if name.contains("://") => SanType::URI((*name).try_into().unwrap()),
            name if name.contains('@') => SanType::Rfc822Name((*name).try_into().unwrap()),
            name => match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            },
        })
        .collect();
    params
}

/// A folder with a configuration and the files it names.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder with `server.crt` and `server.key`.
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.identity(&server());
        folder
    }

    pub(crate) fn identity(&self, server: &Identity) {
        self.write("server.crt", &server.certificate);
        self.write("server.key", &server.key);
    }

    /// Replaces a file as a careful tool does: complete or not at all.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let draft = self.0.path().join(".draft");
        std::fs::write(&draft, content).unwrap();
        std::fs::rename(&draft, &path).unwrap();
        path
    }

    /// A configuration with TLS and what else is to stand in `tls_server_config`, a line each.
    pub(crate) fn tls(&self, lines: &[&str]) -> PathBuf {
        let mut text =
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n".to_owned();
        for line in lines {
            text.push_str(&format!("  {line}\n"));
        }
        self.write("web.yml", &text)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
