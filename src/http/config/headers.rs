//! The answer headers that a configuration may set.

use std::collections::BTreeMap;

use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};

/// The headers, if all of them may be set to what they are set to.
pub(super) fn checked(
    headers: BTreeMap<String, String>,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    headers.into_iter().filter(|(_, value)| !value.is_empty()).map(check).collect()
}

fn check((name, value): (String, String)) -> Result<(HeaderName, HeaderValue), String> {
    let known = ALLOWED.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_str()));
    let Some((known, values)) = known else {
        return Err(format!("HTTP header {name:?} can not be configured"));
    };
    if !values.is_empty() && !values.iter().any(|one| value.eq_ignore_ascii_case(one)) {
        return Err(format!(
            "invalid value for {name}. Expected one of: {values:?}, but got: {value:?}"
        ));
    }
    let value = HeaderValue::from_str(&value)
        .map_err(|_| format!("invalid value for {name}: it holds a control character"))?;
    Ok((known.clone(), value))
}

/// The headers and the values each may have; none listed for any.
const ALLOWED: [(HeaderName, &[&str]); 5] = [
    (CONTENT_SECURITY_POLICY, &[]),
    (STRICT_TRANSPORT_SECURITY, &[]),
    (X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    (X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    (X_XSS_PROTECTION, &[]),
];
