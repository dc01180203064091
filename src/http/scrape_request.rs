//! The query and headers of scrapes and other requests: filters, timeout, format and encoding.

use std::time::Duration;

use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName};

use super::app::{EventsRequest, Format, ScrapeRequest};
use super::limits::{MAX_FILTERS, MAX_SCRAPE_TIMEOUT, NETWORK_ALLOWANCE};
use crate::systemd::unit::name::is_valid;

/// Parses the query string and headers of a scrape; the error is sent to the client.
pub(super) fn parse(query: Option<&str>, headers: &HeaderMap) -> Result<ScrapeRequest, String> {
    let mut request = ScrapeRequest {
        format: format(headers),
        timeout: timeout(headers)?,
        ..ScrapeRequest::default()
    };
    for (key, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
        let list = match &*key {
            "collect[]" => &mut request.collect,
            "exclude[]" => &mut request.exclude,
            "name[]" => &mut request.names,
            _ => continue,
        };
        if list.len() == MAX_FILTERS {
            return Err(format!("more than {MAX_FILTERS} values of {key} in one query"));
        }
        list.push(value.into_owned());
    }
    if !request.collect.is_empty() && !request.exclude.is_empty() {
        return Err("collect[] and exclude[] cannot be combined".to_owned());
    }
    Ok(request)
}

/// Parses the query string of a request for events; the error is sent to the client.
pub(super) fn parse_events(query: Option<&str>) -> Result<EventsRequest, String> {
    let mut request = EventsRequest::default();
    for (key, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
        match &*key {
            "unit" if is_valid(&value) => request.unit = Some(value.into_owned()),
            "unit" => return Err("unit is not a complete unit name, e.g. nginx.service".into()),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                request.limit = Some(limit.ok_or("limit is not a positive integer")?);
            }
            _ => return Err("unknown parameter: only unit and limit are supported".to_owned()),
        }
    }
    Ok(request)
}

/// The keys and values in the query string of an HTML page.
pub(super) fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(query.unwrap_or("").as_bytes()).into_owned().take(MAX_FILTERS).collect()
}

/// The time left to build the response, from the timeout that the scraper sends.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match timeout {
        Some(timeout) if !timeout.is_zero() && timeout <= MAX_SCRAPE_TIMEOUT => {
            Ok(Some(timeout.saturating_sub(NETWORK_ALLOWANCE).max(timeout / 2)))
        }
        _ => Err(format!("{TIMEOUT_HEADER} is not a number of seconds in (0, 86400]")),
    }
}

/// The supported format with the highest weight in `Accept`; the text format if the client has no
/// preference or accepts no supported format.
fn format(headers: &HeaderMap) -> Format {
    let mut best = (0, Format::Text);
    for item in items(headers, &ACCEPT) {
        let Some(format) = supported_format(&item) else { continue };
        if item.weight > best.0 {
            best = (item.weight, format);
        }
    }
    best.1
}

/// Whether the client accepts gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
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
struct WeightedItem<'a> {
    name: &'a str,
    parameters: &'a str,
    /// In thousandths; 0 for "not acceptable".
    weight: u16,
}

impl WeightedItem<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn parameter(&self, key: &str) -> Option<&str> {
        parameters(self.parameters).find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v)
    }
}

fn items<'a>(
    headers: &'a HeaderMap,
    name: &'a HeaderName,
) -> impl Iterator<Item = WeightedItem<'a>> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| {
        value.split(',').filter_map(|element| {
            let (name, rest) = element.split_once(';').unwrap_or((element, ""));
            let weight = parameters(rest).find(|(key, _)| key.eq_ignore_ascii_case("q"));
            let weight = weight.map_or(Some(1000), |(_, value)| thousandths(value))?;
            Some(WeightedItem { name: name.trim(), parameters: rest, weight })
        })
    })
}

fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
}

/// The format that this element of `Accept` requests, if supported.
fn supported_format(item: &WeightedItem<'_>) -> Option<Format> {
    if item.is("application/vnd.google.protobuf") {
        let is_delimited = item.parameter("proto") == Some("io.prometheus.client.MetricFamily")
            && item.parameter("encoding") == Some("delimited");
        return is_delimited.then_some(Format::Protobuf);
    }
    let version = item.parameter("version");
    if item.is("application/openmetrics-text") {
        return matches!(version, None | Some("1.0.0")).then_some(Format::OpenMetrics);
    }
    let plain = item.is("text/plain") || item.is("text/*") || item.is("*/*");
    (plain && matches!(version, None | Some("0.0.4"))).then_some(Format::Text)
}

/// A quality value in thousandths; `None` unless it is between 0 and 1.
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

const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_unit_and_limit_of_events() {
        let request = parse_events(Some("unit=a%5Cx2db.service&limit=3")).unwrap();
        assert_eq!(request.unit.as_deref(), Some("a\\x2db.service"));
        assert_eq!(request.limit, Some(3));
        for bad in ["unit=nginx", "limit=0", "limit=-1", "limit=x", "units=a.service", "unit="] {
            assert!(parse_events(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn decodes_each_kind_of_filter() {
        let query = "collect[]=units&collect%5B%5D=a%20b&name[]=up&x=1&exclude=no";
        let request = parse(Some(query), &HeaderMap::new()).unwrap();
        assert_eq!(request.collect, ["units", "a b"]);
        assert_eq!(request.names, ["up"]);
        assert!(request.exclude.is_empty());
    }

    #[test]
    fn refuses_collect_together_with_exclude() {
        assert!(parse(Some("collect[]=a&exclude[]=b"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn refuses_too_many_filters() {
        let query = "collect[]=x&".repeat(MAX_FILTERS);
        assert_eq!(parse(Some(&query), &HeaderMap::new()).unwrap().collect.len(), MAX_FILTERS);
        let query = "collect[]=x&".repeat(MAX_FILTERS + 1);
        assert!(parse(Some(&query), &HeaderMap::new()).is_err());
    }

    #[test]
    fn timeout_leaves_time_to_send_the_response() {
        let cases = [
            ("10", Some(9500)),
            ("10.000", Some(9500)),
            ("0.6", Some(300)),
            ("86400", Some(86_399_500)),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
            ("86401", None),
            ("ten", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT_HEADER, text.parse().unwrap());
            let timeout = timeout(&headers).ok().flatten();
            assert_eq!(timeout, expected.map(Duration::from_millis), "{text:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn format_is_the_supported_one_with_highest_weight() {
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
            // Prometheus 3 with created-timestamp-zero-ingestion
            (
                &[
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ],
                Format::Protobuf,
            ),
            (&[PROTOBUF], Format::Protobuf),
            (&[PROTOBUF, "application/openmetrics-text"], Format::Protobuf),
            (&["text/plain", PROTOBUF], Format::Text),
            (&["text/plain;q=0.9", PROTOBUF], Format::Protobuf),
            (
                &[
                    "application/vnd.google.protobuf; encoding=\"delimited\"; proto=\"io.prometheus.client.MetricFamily\"",
                ],
                Format::Protobuf,
            ),
            (
                &[
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                ],
                Format::Text,
            ),
            (
                &["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"],
                Format::Text,
            ),
            (
                &[
                    "application/vnd.google.protobuf;proto=io.prometheus.write.v2.Request;encoding=delimited",
                ],
                Format::Text,
            ),
            (&["application/vnd.google.protobuf;encoding=delimited"], Format::Text),
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
            assert_eq!(format(&headers(ACCEPT, accept)), *expected, "{accept:?}");
        }
    }

    const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    #[test]
    fn gzip_is_used_only_if_accepted() {
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
            assert_eq!(accepts_gzip(&headers(ACCEPT_ENCODING, accept)), *expected, "{accept:?}");
        }
    }

    #[test]
    fn parses_weights_of_up_to_three_digits() {
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
