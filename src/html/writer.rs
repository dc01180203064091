//! HTML output: markup is `&'static str`, and all other text is escaped.

use std::fmt::{self, Display, Write};

/// A page, or a part of one.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Appends markup, which cannot contain data of the host: it is a literal.
    pub(super) fn put(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends text or the value of a quoted attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // writing to a string cannot fail
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// Appends a part of a page.
    pub(super) fn append(&mut self, part: Self) -> &mut Self {
        self.0.push_str(&part.0);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Escapes text for HTML, as text and as the value of a quoted attribute. Invisible characters and
/// those that change the text direction are written as `\u{…}`.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                _ if is_invisible(character) => {
                    write!(self.0, "\\u{{{:x}}}", u32::from(character))?
                }
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// One percent-encoded segment of a URL's path.
pub(super) fn segment(name: &str) -> impl Display + '_ {
    percent_encoding::utf8_percent_encode(name, SEGMENT)
}

/// All characters but the unreserved ones of RFC 3986, and `@` and `:`, which paths may contain and
/// unit names often do.
const SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@')
    .remove(b':');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut html = Html::default();
        html.text(text);
        html.into_string()
    }

    /// Unescapes as a browser does.
    fn unescaped(html: &str) -> String {
        html.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    }

    proptest! {
        #[test]
        fn text_cannot_end_its_element_or_attribute(text in any::<String>()) {
            let html = escaped(&text);
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
            prop_assert!(!html.chars().any(is_invisible));
            for (at, _) in html.match_indices('&') {
                let entity = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
                prop_assert!(entity.iter().any(|entity| html[at..].starts_with(entity)));
            }
        }

        #[test]
        fn visible_text_is_unescaped_unchanged(text in any::<String>()) {
            prop_assume!(!text.chars().any(is_invisible));
            prop_assert_eq!(unescaped(&escaped(&text)), text);
        }

        #[test]
        fn segment_has_no_separator_and_decodes_unchanged(name in any::<String>()) {
            let encoded = segment(&name).to_string();
            prop_assert!(!encoded.contains(['/', '\\', '?', '#', '"', '\'', '<', '&', ' ']));
            let decoded = percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap();
            prop_assert_eq!(decoded, name);
        }
    }

    #[test]
    fn invisible_characters_are_written_as_code_points() {
        assert_eq!(escaped("a\u{202e}b\0c\n"), "a\\u{202e}b\\u{0}c\\u{a}");
    }
}
