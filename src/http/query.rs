//! What a scrape's query and headers ask for.

use std::time::Duration;

use hyper::header::HeaderMap;

use super::app::{Wanted, WantedEvents};
use super::limits::{FILTERS, LONGEST_TIMEOUT, RETURN_TRIP};
use super::negotiate;
use crate::systemd::unit::name::is_valid;

/// What the query string and the headers of a scrape want; the error is for the client.
pub(super) fn wanted(query: Option<&str>, headers: &HeaderMap) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        format: negotiate::format(headers),
        timeout: timeout(headers)?,
        ..Wanted::default()
    };
    for (key, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
        let list = match &*key {
            "collect[]" => &mut wanted.collect,
            "exclude[]" => &mut wanted.exclude,
            "name[]" => &mut wanted.names,
            _ => continue,
        };
        if list.len() == FILTERS {
            return Err(format!("more than {FILTERS} times {key} in one query"));
        }
        list.push(value.into_owned());
    }
    if !wanted.collect.is_empty() && !wanted.exclude.is_empty() {
        return Err("collect[] and exclude[] exclude each other".to_owned());
    }
    Ok(wanted)
}

/// What the query string of a question for events wants; the error is for the client.
pub(super) fn wanted_events(query: Option<&str>) -> Result<WantedEvents, String> {
    let mut wanted = WantedEvents::default();
    for (key, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
        match &*key {
            "unit" if is_valid(&value) => wanted.unit = Some(value.into_owned()),
            "unit" => return Err("unit is not the whole name of a unit, as nginx.service".into()),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                wanted.limit = Some(limit.ok_or("limit is not a whole number above 0")?);
            }
            _ => return Err("only unit and limit can be asked for".to_owned()),
        }
    }
    Ok(wanted)
}

/// The query string of a page for people: its keys and values.
pub(super) fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(query.unwrap_or("").as_bytes()).into_owned().take(FILTERS).collect()
}

/// How long the page may take, by what the scraper says it waits.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(None) };
    let said = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let said = said.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match said {
        Some(said) if !said.is_zero() && said <= LONGEST_TIMEOUT => {
            Ok(Some(said.saturating_sub(RETURN_TRIP).max(said / 2)))
        }
        _ => Err(format!("{TIMEOUT_HEADER} is not a number of seconds in (0, 86400]")),
    }
}

const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_asked_for_by_unit_and_number() {
        let wanted = wanted_events(Some("unit=a%5Cx2db.service&limit=3")).unwrap();
        assert_eq!(wanted.unit.as_deref(), Some("a\\x2db.service"));
        assert_eq!(wanted.limit, Some(3));
        for bad in ["unit=nginx", "limit=0", "limit=-1", "limit=x", "units=a.service", "unit="] {
            assert!(wanted_events(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_are_decoded_and_told_apart() {
        let query = "collect[]=units&collect%5B%5D=a%20b&name[]=up&x=1&exclude=no";
        let wanted = wanted(Some(query), &HeaderMap::new()).unwrap();
        assert_eq!(wanted.collect, ["units", "a b"]);
        assert_eq!(wanted.names, ["up"]);
        assert!(wanted.exclude.is_empty());
    }

    #[test]
    fn collect_and_exclude_together_are_refused() {
        assert!(wanted(Some("collect[]=a&exclude[]=b"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn too_many_filters_are_refused() {
        let query = "collect[]=x&".repeat(FILTERS);
        assert_eq!(wanted(Some(&query), &HeaderMap::new()).unwrap().collect.len(), FILTERS);
        let query = "collect[]=x&".repeat(FILTERS + 1);
        assert!(wanted(Some(&query), &HeaderMap::new()).is_err());
    }

    #[test]
    fn a_timeout_leaves_time_for_the_way_back() {
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
            let said = timeout(&headers).ok().flatten();
            assert_eq!(said, expected.map(Duration::from_millis), "{text:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }
}
