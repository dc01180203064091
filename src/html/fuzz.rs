//! Fuzzing of the status pages: paths and queries of requests, and text in a page.

use super::writer::{Html, segment};
use super::{PageRoute, TableQuery};

/// Writes the data as text into a page, and parses it as a path and as a query.
pub(crate) fn html(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut html = Html::default();
    html.text(&text);
    let html = html.into_string();
    assert!(!html.contains(['<', '>', '"', '\'', '\0', '\u{202e}']), "{html:?}");

    let unit = PageRoute::parse(&format!("/unit/{}", segment(&text)));
    assert_eq!(unit, Some(PageRoute::Unit(text.clone().into_owned())));
    let _ = PageRoute::parse(&text);

    let pairs = |query: &[u8]| form_urlencoded::parse(query).into_owned().collect::<Vec<_>>();
    let query = TableQuery::parse(&pairs(data));
    let url = query.url();
    assert_eq!(TableQuery::parse(&pairs(&url.as_bytes()[1..])), query, "{url}");
}
