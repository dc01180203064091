//! Which form and which encoding of a page a client prefers.

use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName};

use super::app::Format;

/// The supported format with the highest weight in `Accept`; the text format when the client has
/// no preference, or none that can be met.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let mut best = (0, Format::Text);
    for item in items(headers, &ACCEPT) {
        let Some(format) = offered(&item) else { continue };
        if item.weight > best.0 {
            best = (item.weight, format);
        }
    }
    best.1
}

/// Whether the client takes gzip.
pub(super) fn gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for item in items(headers, &ACCEPT_ENCODING) {
        if item.is("gzip") || item.is("x-gzip") {
            return item.weight > 0;
        }
        any |= item.is("*") && item.weight > 0;
    }
    any
}

/// One element of a weighted list: `name;key=value;q=0.5`.
struct Item<'a> {
    name: &'a str,
    parameters: &'a str,
    /// Thousandths, 0 for "not acceptable".
    weight: u16,
}

impl Item<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn parameter(&self, key: &str) -> Option<&str> {
        parameters(self.parameters).find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v)
    }
}

fn items<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = Item<'a>> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| {
        value.split(',').filter_map(|element| {
            let (name, rest) = element.split_once(';').unwrap_or((element, ""));
            let weight = parameters(rest).find(|(key, _)| key.eq_ignore_ascii_case("q"));
            let weight = weight.map_or(Some(1000), |(_, value)| thousandths(value))?;
            Some(Item { name: name.trim(), parameters: rest, weight })
        })
    })
}

fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
}

/// The page that answers this element, if there is one.
fn offered(item: &Item<'_>) -> Option<Format> {
    let version = item.parameter("version");
    if item.is("application/openmetrics-text") {
        return matches!(version, None | Some("1.0.0")).then_some(Format::OpenMetrics);
    }
    let plain = item.is("text/plain") || item.is("text/*") || item.is("*/*");
    (plain && matches!(version, None | Some("0.0.4"))).then_some(Format::Text)
}

/// A quality value in thousandths; `None` for what is not between 0 and 1.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = whole.parse().ok()?;
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    let weight = whole.checked_mul(1000)?.checked_add(fraction)?;
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_highest_supported_weight_wins() {
        let cases: &[(&[&str], Format)] = &[
            (&[], Format::Text),
            (&["*/*"], Format::Text),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Format::Text),
            // Prometheus 2.42
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                Format::OpenMetrics,
            ),
            // Prometheus 3
            (
                &[
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ],
                Format::OpenMetrics,
            ),
            // Prometheus 3 with native histograms: protobuf is not offered here
            (
                &[
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ],
                Format::OpenMetrics,
            ),
            // vmagent
            (&["text/plain;version=0.0.4;q=1,*/*;q=0.1"], Format::Text),
            (&["application/openmetrics-text;q=0.3, text/plain; q=0.7"], Format::Text),
            (&["text/plain;q=0.3", "application/openmetrics-text;q=0.7"], Format::OpenMetrics),
            (&["application/openmetrics-text; version=\"1.0.0\""], Format::OpenMetrics),
            (&["application/openmetrics-text;version=0.0.1"], Format::Text),
            (&["application/openmetrics-text;q=0"], Format::Text),
            (&["application/openmetrics-text;q=7"], Format::Text),
            (&[";;;,,,=;q=,"], Format::Text),
        ];
        for (accept, expected) in cases {
            assert_eq!(format(&with(ACCEPT, accept)), *expected, "{accept:?}");
        }
    }

    #[test]
    fn gzip_is_used_only_where_accepted() {
        let cases: &[(&[&str], bool)] = &[
            (&[], false),
            (&["gzip"], true),
            (&["deflate, GZIP;q=0.5"], true),
            (&["identity"], false),
            (&["gzip;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["br", "gzip"], true),
        ];
        for (accept, expected) in cases {
            assert_eq!(gzip(&with(ACCEPT_ENCODING, accept)), *expected, "{accept:?}");
        }
    }

    #[test]
    fn a_weight_is_at_most_three_digits() {
        let cases = [
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("0.025", Some(25)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.0001", None),
            ("-1", None),
            ("NaN", None),
            ("70000", None),
        ];
        for (text, expected) in cases {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
