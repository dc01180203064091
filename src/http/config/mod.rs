//! The file behind `--web.config.file`, in the format that the exporter family shares.

pub(super) mod file;
mod headers;
mod interval;
mod names;
mod users;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;

/// What a file says, checked; certificates are named here, not read.
#[derive(Debug, Clone, Default)]
pub(super) struct Config {
    /// `None` for plain HTTP.
    pub(super) tls: Option<Tls>,
    pub(super) http2: bool,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Password hashes by user; empty when nobody has to log in.
    pub(super) users: BTreeMap<String, String>,
    pub(super) rate: Option<Rate>,
    /// What is legal and probably not meant.
    pub(super) warnings: Vec<String>,
}

/// How TLS is spoken.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
    pub(super) client_ca: Option<Pem>,
    pub(super) client_auth: ClientAuth,
    /// A client certificate has to have one of these names; empty for any.
    pub(super) client_sans: Vec<String>,
    pub(super) tls12: bool,
    pub(super) tls13: bool,
    pub(super) suites: Vec<SupportedCipherSuite>,
    pub(super) groups: Vec<&'static dyn SupportedKxGroup>,
    pub(super) server_order: bool,
}

/// Where PEM text stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pem {
    Inline(String),
    File(PathBuf),
}

/// What is asked of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

/// A token bucket: one token every `interval`, at most `burst` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// What is wrong with a web configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    what: String,
}

impl ConfigError {
    pub(super) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }
}

/// What the file at `path` says; its relative paths begin at its folder.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    checked(bytes, folder).map_err(|what| ConfigError::new(path, what))
}

fn checked(bytes: &[u8], folder: &Path) -> Result<Config, String> {
    let web = yaml::parse(bytes)?;
    let mut warnings = Vec::new();
    let http = web.http_server_config.unwrap_or_default();
    let http2 = http.http2.unwrap_or(true);
    let tls = web.tls_server_config.unwrap_or_default();
    let tls = tls_settings(tls, http2, folder, &mut warnings)?;
    let rate = web.rate_limit.map(rate).transpose()?.flatten();
    if rate.is_some_and(|rate| rate.burst == 0) {
        warnings.push("rate_limit has an interval but no burst: every request is refused".into());
    }
    let headers = headers::checked(http.headers.unwrap_or_default())?;
    let users = web.basic_auth_users.unwrap_or_default();
    users::check(&users, &mut warnings)?;
    if tls.is_none() && !users.is_empty() {
        warnings.push("passwords are sent over the network in the clear: there is no TLS".into());
    }
    Ok(Config { tls, http2, headers, users, rate, warnings })
}

fn tls_settings(
    tls: yaml::Tls,
    http2: bool,
    folder: &Path,
    warnings: &mut Vec<String>,
) -> Result<Option<Tls>, String> {
    let certificate = pem(tls.cert, tls.cert_file, folder);
    let key = pem(tls.key, tls.key_file, folder);
    let client_ca = pem(tls.client_ca, tls.client_ca_file, folder);
    let policy = tls.client_auth_type.filter(|policy| !policy.is_empty());
    if certificate.is_none() && key.is_none() && client_ca.is_none() && policy.is_none() {
        return Ok(None);
    }
    let certificate = certificate.ok_or("missing one of cert or cert_file")?;
    let key = key.ok_or("missing one of key or key_file")?;
    let client_auth = match policy {
        Some(policy) => names::client_auth(&policy)?,
        None => ClientAuth::None,
    };
    if client_ca.is_some() && client_auth == ClientAuth::None {
        return Err("client CA's have been configured without a Client Auth Policy".to_owned());
    }
    if client_ca.is_none() && client_auth.verifies() {
        let text =
            "client certificates are to be verified, but there is no client_ca: all are refused";
        warnings.push(text.into());
    }
    let (tls12, tls13) =
        names::versions(tls.min_version.as_deref(), tls.max_version.as_deref(), warnings)?;
    let suites = names::suites(tls.cipher_suites.as_deref(), http2 && tls12, warnings)?;
    if tls12 && !tls13 && !suites.iter().any(|suite| suite.tls13().is_none()) {
        return Err("none of the cipher_suites can be used with TLS 1.2".to_owned());
    }
    Ok(Some(Tls {
        certificate,
        key,
        client_ca,
        client_auth,
        client_sans: tls.client_allowed_sans.unwrap_or_default(),
        tls12,
        tls13,
        suites,
        groups: names::groups(tls.curve_preferences.as_deref())?,
        server_order: tls.prefer_server_cipher_suites.unwrap_or(true),
    }))
}

/// A file counts before text in the configuration, as with the rest of the family.
fn pem(inline: Option<String>, file: Option<String>, folder: &Path) -> Option<Pem> {
    let filled = |text: &String| !text.is_empty();
    let file = file.filter(filled).map(|file| Pem::File(folder.join(file)));
    file.or_else(|| inline.filter(filled).map(Pem::Inline))
}

fn rate(limit: yaml::RateLimit) -> Result<Option<Rate>, String> {
    let interval = limit.interval.map_or(Ok(Duration::ZERO), |text| interval::parse(&text))?;
    let rate = Rate { interval, burst: limit.burst.unwrap_or(0) };
    Ok((!interval.is_zero()).then_some(rate))
}

impl ClientAuth {
    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    pub(super) fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        checked(text.as_bytes(), Path::new("/etc/x"))
    }

    #[test]
    fn an_empty_file_is_plain_http() {
        for text in ["", "---\n", "# nothing\n", "tls_server_config:\n", "tls_server_config: {}\n"]
        {
            let config = config(text).unwrap();
            assert!(config.tls.is_none() && config.users.is_empty() && config.rate.is_none());
            assert!(config.http2, "{text:?}");
        }
    }

    #[test]
    fn paths_begin_at_the_folder_of_the_file_and_win_over_inline_text() {
        let text = "tls_server_config: {cert_file: a.pem, cert: x, key_file: /b/k.pem}";
        let tls = config(text).unwrap().tls.unwrap();
        assert_eq!(tls.certificate, Pem::File("/etc/x/a.pem".into()));
        assert_eq!(tls.key, Pem::File("/b/k.pem".into()));
    }

    #[test]
    fn scalars_are_taken_as_text() {
        let text = "http_server_config:\n  http2: false\n  headers:\n    X-XSS-Protection: 1\n    \
                    X-Frame-Options: DENY\n";
        let config = config(text).unwrap();
        assert!(!config.http2);
        let values: Vec<_> = config.headers.iter().map(|(_, value)| value.as_bytes()).collect();
        assert_eq!(values, [b"DENY" as &[u8], b"1"]);
    }

    #[test]
    fn mistakes_are_named() {
        let tls = |more: &str| format!("tls_server_config: {{cert_file: a, key_file: b, {more}}}");
        for (text, expected) in [
            ("hWkNKRkXfGGHBqtG".to_owned(), "yaml"),
            ("rate_limit: [".to_owned(), "yaml"),
            ("unknown_key: 1".to_owned(), "yaml"),
            ("tls_server_config: {cert_filse: x}".to_owned(), "yaml"),
            ("basic_auth_users: {a: x, a: y}".to_owned(), "yaml"),
            ("tls_server_config: {key_file: b}".to_owned(), "missing one of cert or cert_file"),
            (
                "tls_server_config: {cert_file: '', key_file: b}".to_owned(),
                "missing one of cert or cert_file",
            ),
            ("tls_server_config: {client_ca_file: b}".to_owned(), "missing one of cert"),
            ("tls_server_config: {cert: x}".to_owned(), "missing one of key or key_file"),
            (
                tls("client_ca_file: c"),
                "client CA's have been configured without a Client Auth Policy",
            ),
            (tls("client_auth_type: Nonsense"), "invalid ClientAuth"),
            (
                tls("cipher_suites: [TLS_ECDHE_RSA_WITH_2048]"),
                "unknown cipher: TLS_ECDHE_RSA_WITH_2048",
            ),
            (tls("curve_preferences: [CurveP257]"), "unknown curve: CurveP257"),
            (tls("min_version: TLS111"), "unknown TLS version: TLS111"),
            (tls("max_version: TLS11"), "TLS 1.2"),
            (tls("min_version: TLS13, max_version: TLS12"), "min_version"),
            (
                tls("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]"),
                "missing an HTTP/2-required",
            ),
            ("http_server_config: {headers: {Server: x}}".to_owned(), "can not be configured"),
            (
                "http_server_config: {headers: {X-Frame-Options: 'same, origin'}}".to_owned(),
                "invalid value for",
            ),
            (
                "http_server_config: {headers: {X-Content-Type-Options: sniff}}".to_owned(),
                "invalid value for",
            ),
            ("basic_auth_users: {a: '$2y$10$short'}".to_owned(), "hashedSecret too short"),
            ("rate_limit: {interval: 5 parsecs}".to_owned(), "interval"),
        ] {
            let error = config(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_probably_not_meant_is_told() {
        for (text, expected) in [
            ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "TLS 1.2"),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
                "no client_ca",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: b, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_CBC_SHA]}",
                "TLS_RSA_WITH_AES_128_CBC_SHA",
            ),
            ("rate_limit: {interval: 1s}", "burst"),
        ] {
            let warnings = config(text).unwrap().warnings;
            assert!(warnings.iter().any(|warning| warning.contains(expected)), "{warnings:?}");
        }
    }
}
