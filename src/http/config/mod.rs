//! The file of `--web.config.file`, in the format of the exporter-toolkit.

pub(super) mod file;
mod names;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bcrypt::HashParts;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use jiff::fmt::friendly::SpanParser;
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;

/// The checked content of a file. Certificate and key files are named here, not read.
#[derive(Debug, Clone, Default)]
pub(super) struct WebConfig {
    /// `None` for plain HTTP.
    pub(super) tls: Option<TlsConfig>,
    pub(super) http2: bool,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Password hashes by user; empty for no authentication.
    pub(super) users: BTreeMap<String, String>,
    pub(super) rate_limit: Option<RateLimit>,
    /// Settings that are legal and probably a mistake.
    pub(super) warnings: Vec<String>,
    /// Why every request is refused, if it is; also one of the warnings.
    pub(super) refuses_all: Option<&'static str>,
}

/// The TLS settings.
#[derive(Debug, Clone)]
pub(super) struct TlsConfig {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
    pub(super) client_ca: Option<Pem>,
    pub(super) client_auth: ClientAuth,
    /// A client certificate must contain one of these names; empty for any.
    pub(super) client_sans: Vec<String>,
    pub(super) tls12: bool,
    pub(super) tls13: bool,
    pub(super) suites: Vec<SupportedCipherSuite>,
    pub(super) groups: Vec<&'static dyn SupportedKxGroup>,
    pub(super) server_order: bool,
}

/// The source of PEM text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pem {
    Inline(String),
    File(PathBuf),
}

/// The policy for client certificates.
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
pub(super) struct RateLimit {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// An error in a web configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    reason: String,
}

impl ConfigError {
    pub(super) fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }
}

/// Parses and checks the file at `path`; its relative paths are relative to its directory.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<WebConfig, ConfigError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    check(bytes, directory).map_err(|reason| ConfigError::new(path, reason))
}

fn check(bytes: &[u8], directory: &Path) -> Result<WebConfig, String> {
    let web = yaml::parse(bytes)?;
    let http = web.http_server_config.unwrap_or_default();
    let mut config = WebConfig {
        http2: http.http2.unwrap_or(true),
        headers: check_headers(http.headers.unwrap_or_default())?,
        rate_limit: web.rate_limit.map(rate_limit).transpose()?.flatten(),
        users: web.basic_auth_users.unwrap_or_default(),
        ..WebConfig::default()
    };
    let tls = web.tls_server_config.unwrap_or_default();
    config.tls = check_tls(tls, config.http2, directory, &mut config.warnings)?;
    check_users(&config.users, &mut config.warnings)?;
    if config.tls.is_none() && !config.users.is_empty() {
        config.warnings.push("passwords are sent unencrypted, since TLS is not configured".into());
    }
    if config.tls.as_ref().is_some_and(|tls| {
        tls.client_auth == ClientAuth::RequireAndVerify && tls.client_ca.is_none()
    }) {
        config.refuses_all = Some(
            "client certificates are required, but there is no client_ca: every request is refused",
        );
    } else if config.rate_limit.is_some_and(|limit| limit.burst == 0) {
        config.refuses_all =
            Some("rate_limit has an interval but no burst: every request is refused");
    }
    config.warnings.extend(config.refuses_all.map(str::to_owned));
    Ok(config)
}

fn check_tls(
    tls: yaml::TlsYaml,
    http2: bool,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Option<TlsConfig>, String> {
    let certificate = pem(tls.cert, tls.cert_file, directory);
    let key = pem(tls.key, tls.key_file, directory);
    let client_ca = pem(tls.client_ca, tls.client_ca_file, directory);
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
    if client_ca.is_none() && client_auth == ClientAuth::VerifyIfGiven {
        warnings.push("there is no client_ca: all client certificates are refused".into());
    }
    let (tls12, tls13) =
        names::versions(tls.min_version.as_deref(), tls.max_version.as_deref(), warnings)?;
    let suites = names::suites(tls.cipher_suites.as_deref(), http2 && tls12, warnings)?;
    if tls12 && !tls13 && !suites.iter().any(|suite| suite.tls13().is_none()) {
        return Err("none of the cipher_suites can be used with TLS 1.2".to_owned());
    }
    Ok(Some(TlsConfig {
        certificate,
        key,
        client_ca,
        client_auth,
        client_sans: tls.client_allowed_sans.unwrap_or_default(),
        tls12,
        tls13,
        suites,
        groups: names::groups(tls.curve_preferences.as_deref(), warnings)?,
        server_order: tls.prefer_server_cipher_suites.unwrap_or(true),
    }))
}

/// A file takes precedence over inline text, as in the exporter-toolkit.
fn pem(inline: Option<String>, file: Option<String>, directory: &Path) -> Option<Pem> {
    let filled = |text: &String| !text.is_empty();
    let file = file.filter(filled).map(|file| Pem::File(directory.join(file)));
    file.or_else(|| inline.filter(filled).map(Pem::Inline))
}

fn rate_limit(limit: yaml::RateLimitYaml) -> Result<Option<RateLimit>, String> {
    let interval = limit.interval.map_or(Ok(Duration::ZERO), |text| duration(&text))?;
    let limit = RateLimit { interval, burst: limit.burst.unwrap_or(0) };
    Ok((!interval.is_zero()).then_some(limit))
}

/// A duration as Go writes it: `1s`, `250ms`, `1h2m3.5s`; a bare number is in nanoseconds.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(nanoseconds) = text.parse() {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    SpanParser::new()
        .parse_unsigned_duration(text)
        .map_err(|_| format!("invalid interval {text:?}; expected e.g. 1s, 250ms or 1m30s"))
}

fn check_headers(
    headers: BTreeMap<String, String>,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    headers.into_iter().filter(|(_, value)| !value.is_empty()).map(check_header).collect()
}

fn check_header((name, value): (String, String)) -> Result<(HeaderName, HeaderValue), String> {
    let known = HEADERS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_str()));
    let Some((known, values)) = known else {
        return Err(format!("HTTP header {name:?} can not be configured"));
    };
    if !values.is_empty() && !values.iter().any(|one| value.eq_ignore_ascii_case(one)) {
        return Err(format!(
            "invalid value for {name}. Expected one of: {values:?}, but got: {value:?}"
        ));
    }
    let value = HeaderValue::from_str(&value)
        .map_err(|_| format!("invalid value for {name}: it contains a control character"))?;
    Ok((known.clone(), value))
}

/// Rejects hashes that no password can match.
fn check_users(users: &BTreeMap<String, String>, warnings: &mut Vec<String>) -> Result<(), String> {
    for (user, hash) in users {
        let parts = hash.parse::<HashParts>().ok().filter(|_| hash.len() >= HASH_LENGTH);
        let parts = parts.ok_or_else(|| {
            format!(
                "user {user:?}: not a bcrypt hash; create one with: unit-exporter hash-password"
            )
        })?;
        match parts.get_cost() {
            0..MIN_COST => return Err(format!("user {user:?}: bcrypt cost below {MIN_COST}")),
            SLOW_COST..=MAX_COST => warnings.push(format!("user {user:?}: a login takes seconds")),
            cost if cost > MAX_COST => {
                return Err(format!(
                    "user {user:?}: a login with bcrypt cost {cost} takes minutes"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

impl ClientAuth {
    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    pub(super) fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// The headers that can be configured, with the allowed values; empty for any value.
const HEADERS: [(HeaderName, &[&str]); 5] = [
    (CONTENT_SECURITY_POLICY, &[]),
    (STRICT_TRANSPORT_SECURITY, &[]),
    (X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    (X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    (X_XSS_PROTECTION, &[]),
];

/// The length of a bcrypt hash.
const HASH_LENGTH: usize = 60;

/// The lowest cost of bcrypt.
const MIN_COST: u32 = 4;

/// From this cost on, a login takes more than a second.
const SLOW_COST: u32 = 15;

/// Above this cost, no login completes within any scrape timeout.
const MAX_COST: u32 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<WebConfig, String> {
        check(text.as_bytes(), Path::new("/etc/x"))
    }

    #[test]
    fn empty_file_means_plain_http() {
        for text in ["", "---\n", "# nothing\n", "tls_server_config:\n", "tls_server_config: {}\n"]
        {
            let config = config(text).unwrap();
            assert!(config.tls.is_none() && config.users.is_empty() && config.rate_limit.is_none());
            assert!(config.http2, "{text:?}");
        }
    }

    #[test]
    fn relative_paths_take_precedence_over_inline_text() {
        let text = "tls_server_config: {cert_file: a.pem, cert: x, key_file: /b/k.pem}";
        let tls = config(text).unwrap().tls.unwrap();
        assert_eq!(tls.certificate, Pem::File("/etc/x/a.pem".into()));
        assert_eq!(tls.key, Pem::File("/b/k.pem".into()));
    }

    #[test]
    fn numeric_header_value_is_text() {
        let text = "http_server_config:\n  http2: false\n  headers:\n    X-XSS-Protection: 1\n    \
                    X-Frame-Options: DENY\n";
        let config = config(text).unwrap();
        assert!(!config.http2);
        let values: Vec<_> = config.headers.iter().map(|(_, value)| value.as_bytes()).collect();
        assert_eq!(values, [b"DENY" as &[u8], b"1"]);
    }

    #[test]
    fn error_names_the_mistake() {
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
            ("basic_auth_users: {a: '$2y$10$short'}".to_owned(), "user \"a\": not a bcrypt hash"),
            ("basic_auth_users: {a: hunter2}".to_owned(), "unit-exporter hash-password"),
            ("rate_limit: {interval: 5 parsecs}".to_owned(), "interval"),
        ] {
            let error = config(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn warns_about_probable_mistakes() {
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
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: VerifyClientCertIfGiven}",
                "no client_ca",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: b, curve_preferences: [CurveP521]}",
                "CurveP521 is not supported",
            ),
            ("rate_limit: {interval: 1s}", "burst"),
        ] {
            let warnings = config(text).unwrap().warnings;
            assert!(warnings.iter().any(|warning| warning.contains(expected)), "{warnings:?}");
        }
    }

    #[test]
    fn detects_that_every_request_is_refused() {
        let tls = |auth| {
            format!("tls_server_config: {{cert_file: a, key_file: b, client_auth_type: {auth}}}")
        };
        for (text, expected) in [
            ("rate_limit: {interval: 1s}".to_owned(), true),
            ("rate_limit: {interval: 1s, burst: 1}".to_owned(), false),
            ("rate_limit: {burst: 0}".to_owned(), false),
            (tls("RequireAndVerifyClientCert"), true),
            (tls("RequireAnyClientCert"), false),
            (tls("VerifyClientCertIfGiven"), false),
        ] {
            assert_eq!(config(&text).unwrap().refuses_all.is_some(), expected, "{text}");
        }
    }

    #[test]
    fn ignores_p521_and_uses_the_other_curves() {
        let names = |curves: &str| {
            let text = format!(
                "tls_server_config: {{cert_file: a, key_file: b, curve_preferences: {curves}}}"
            );
            let groups = config(&text).unwrap().tls.unwrap().groups;
            groups.iter().map(|group| group.name()).collect::<Vec<_>>()
        };
        assert_eq!(names("[CurveP521, CurveP256]"), names("[CurveP256]"));
        assert_eq!(names("[CurveP521]"), names("[]"));
    }

    #[test]
    fn parses_go_durations() {
        for (text, expected) in [
            ("1s", Some(1000)),
            ("250ms", Some(250)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("1500us", Some(1)),
            ("1500µs", Some(1)),
            ("3000000ns", Some(3)),
            ("1h2m3.5s", Some(3_723_500)),
            ("0", Some(0)),
            ("5000000", Some(5)),
            ("", None),
            ("s", None),
            ("1", Some(0)),
            ("-1s", None),
            ("1s2", None),
            ("1e400s", None),
            ("99999999999999999999h", None),
        ] {
            let milliseconds = duration(text).ok().map(|read| read.as_millis());
            assert_eq!(milliseconds, expected, "{text:?}");
        }
    }
}
