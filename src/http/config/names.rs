//! Go's names of TLS versions, cipher suites, curves and client policies.

use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group};

use super::ClientAuth;

pub(super) fn client_auth(name: &str) -> Result<ClientAuth, String> {
    Ok(match name {
        "NoClientCert" => ClientAuth::None,
        "RequestClientCert" => ClientAuth::Request,
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
        _ => return Err(format!("invalid ClientAuth: {name}")),
    })
}

/// Whether TLS 1.2 and 1.3 are enabled; older versions never are.
pub(super) fn versions(
    least: Option<&str>,
    most: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<(bool, bool), String> {
    let least = least.filter(|name| !name.is_empty()).map_or(Ok(12), version)?;
    let most = most.filter(|name| !name.is_empty()).map_or(Ok(13), version)?;
    if most < 12 {
        return Err("max_version is below TLS 1.2, the oldest version supported".to_owned());
    }
    if least > most {
        return Err("min_version is above max_version".to_owned());
    }
    if least < 12 {
        warnings.push("min_version: TLS 1.2 is the oldest version supported".to_owned());
    }
    Ok((least <= 12, most >= 13))
}

fn version(name: &str) -> Result<u8, String> {
    Ok(match name {
        "TLS10" => 10,
        "TLS11" => 11,
        "TLS12" => 12,
        "TLS13" => 13,
        _ => return Err(format!("unknown TLS version: {name}")),
    })
}

/// The suites in order; those of TLS 1.3 cannot be configured and are always enabled.
pub(super) fn suites(
    names: Option<&[String]>,
    http2: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut suites: Vec<_> = TLS13.iter().map(|(_, suite)| *suite).collect();
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        suites.extend(TLS12.iter().map(|(_, suite)| *suite));
        return Ok(suites);
    };
    for name in names {
        if let Some((_, suite)) = TLS12.iter().find(|(known, _)| known == name) {
            suites.push(*suite);
        } else if WEAK_CIPHERS.contains(&name.as_str()) {
            warnings.push(format!("cipher suite {name} is weak and is not used"));
        } else if !TLS13.iter().any(|(known, _)| known == name) {
            return Err(format!("unknown cipher: {name}"));
        }
    }
    let required = [
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    if http2 && !required.iter().any(|one| suites.contains(one)) {
        return Err("cipher_suites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher \
                    (TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or \
                    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)"
            .to_owned());
    }
    Ok(suites)
}

/// The key exchange groups in order; without `names`, the default groups of rustls.
pub(super) fn groups(
    names: Option<&[String]>,
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    let mut groups = Vec::new();
    for name in names.unwrap_or_default() {
        groups.push(match name.as_str() {
            "CurveP256" => kx_group::SECP256R1,
            "CurveP384" => kx_group::SECP384R1,
            "X25519" => kx_group::X25519,
            "X25519MLKEM768" => kx_group::X25519MLKEM768,
            "CurveP521" => {
                let text = "curve_preferences: CurveP521 is not supported; other curves are used";
                warnings.push(text.to_owned());
                continue;
            }
            _ => return Err(format!("unknown curve: {name}")),
        });
    }
    Ok(if groups.is_empty() { aws_lc_rs::default_provider().kx_groups } else { groups })
}

const TLS13: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
];

const TLS12: [(&str, SupportedCipherSuite); 8] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Suites that Go supports and rustls does not, because they are weak.
const WEAK_CIPHERS: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];
