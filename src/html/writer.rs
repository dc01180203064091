//! Markup and text, kept apart: what comes from the host is escaped wherever it stands.

use std::fmt::{self, Display, Write};

/// A page, or a part of one, as it grows.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup. It stands in the source, so nothing from the host can be in it.
    pub(super) fn put(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, or the value of a quoted attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // writing to a string cannot fail
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// A part made apart.
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

/// Escapes what is written through it for HTML, for text and for quoted attributes alike.
/// Characters that cannot be seen, or that turn the reading direction around, are written out.
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
                _ if is_unseen(character) => write!(self.0, "\\u{{{:x}}}", u32::from(character))?,
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// One segment of a URL's path, percent-encoded.
pub(super) fn segment(name: &str) -> impl Display + '_ {
    percent_encoding::utf8_percent_encode(name, SEGMENT)
}

/// All but what RFC 3986 has unreserved, and what unit names have often and paths may have.
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

    /// What a browser makes of it.
    fn read(html: &str) -> String {
        html.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    }

    proptest! {
        #[test]
        fn nothing_breaks_out_of_text_or_attribute(text in any::<String>()) {
            let html = escaped(&text);
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
            prop_assert!(!html.chars().any(is_unseen));
            for (at, _) in html.match_indices('&') {
                let entity = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
                prop_assert!(entity.iter().any(|entity| html[at..].starts_with(entity)));
            }
        }

        #[test]
        fn what_can_be_seen_reads_as_it_was(text in any::<String>()) {
            prop_assume!(!text.chars().any(is_unseen));
            prop_assert_eq!(read(&escaped(&text)), text);
        }

        #[test]
        fn a_segment_is_one_segment_and_reads_as_it_was(name in any::<String>()) {
            let encoded = segment(&name).to_string();
            prop_assert!(!encoded.contains(['/', '\\', '?', '#', '"', '\'', '<', '&', ' ']));
            let decoded = percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap();
            prop_assert_eq!(decoded, name);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(escaped("a\u{202e}b\0c\n"), "a\\u{202e}b\\u{0}c\\u{a}");
    }
}
