//! Fuzzing: what clients ask of the pages for people, and what is written there.

use super::writer::{Html, segment};
use super::{Place, Question};

/// Text as it is written into a page, and as a path and a query.
pub(crate) fn html(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut html = Html::default();
    html.text(&text);
    let html = html.into_string();
    assert!(!html.contains(['<', '>', '"', '\'', '\0', '\u{202e}']), "{html:?}");

    let unit = Place::at(&format!("/unit/{}", segment(&text)));
    assert_eq!(unit, Some(Place::Unit(text.clone().into_owned())));
    let _ = Place::at(&text);

    let pairs = |query: &[u8]| form_urlencoded::parse(query).into_owned().collect::<Vec<_>>();
    let question = Question::new(&pairs(data));
    let query = question.query();
    assert_eq!(Question::new(&pairs(&query.as_bytes()[1..])), question, "{query}");
}
