//! Certificates and configuration files generated for a test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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
pub(crate) fn server_identity() -> Identity {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    Identity { certificate, key: key.serialize_pem() }
}

/// A self-signed client certificate that is also a CA.
pub(crate) fn selfsigned_client(names: &[&str]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = params(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap().pem();
    Identity { certificate, key: key.serialize_pem() }
}

/// A CA, and a client certificate issued by the CA.
pub(crate) fn issued_client(names: &[&str]) -> (String, Identity) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    // a unique name: CAs with the same name differ in their signatures only
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

/// A CA and a client certificate issued by the CA, each valid for this time from now on.
pub(crate) fn short_lived_client(ca_life: Duration, life: Duration) -> (String, Identity) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = |time: Duration| rcgen::date_time_ymd(1970, 1, 1) + time;
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (ca.not_before, ca.not_after) = (at(now) - HOUR, at(now) + ca_life);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::from_params(&ca, &ca_key);
    let key = KeyPair::generate().unwrap();
    let mut params = params(&["short"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (at(now) - HOUR, at(now) + life);
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    (ca_pem, Identity { certificate, key: key.serialize_pem() })
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A self-signed client certificate that expired in 2002.
pub(crate) fn expired_client() -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = params(&["old"]);
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let certificate = params.self_signed(&key).unwrap().pem();
    Identity { certificate, key: key.serialize_pem() }
}

/// Names with `://` become URIs, with `@` e-mail addresses, the others IP addresses or DNS names.
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

/// A temporary directory with a configuration file and the files that it references.
pub(crate) struct ConfigDir(tempfile::TempDir);

impl ConfigDir {
    /// Creates the directory with `server.crt` and `server.key`.
    pub(crate) fn new() -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        dir.write_identity(&server_identity());
        dir
    }

    pub(crate) fn write_identity(&self, server: &Identity) {
        self.write("server.crt", &server.certificate);
        self.write("server.key", &server.key);
    }

    /// Replaces a file atomically, by rename.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let temporary = self.0.path().join(".temporary");
        std::fs::write(&temporary, content).unwrap();
        std::fs::rename(&temporary, &path).unwrap();
        path
    }

    /// Writes a configuration with TLS; `lines` are appended to `tls_server_config`.
    pub(crate) fn tls(&self, lines: &[&str]) -> PathBuf {
        let mut text =
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n".to_owned();
        for line in lines {
            text.push_str(&format!("  {line}\n"));
        }
        self.write("web.yml", &text)
    }

    /// Rewrites a file in place, in two steps.
    pub(crate) fn rewrite(&self, name: &str, content: &str) {
        let mut file = std::fs::File::create(self.0.path().join(name)).unwrap();
        let (first, rest) = content.split_at(content.len() / 2);
        for part in [first, rest] {
            std::thread::sleep(Duration::from_millis(20));
            file.write_all(part.as_bytes()).unwrap();
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
