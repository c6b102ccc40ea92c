//! Text that comes from others, made harmless for whoever looks at it in a terminal.
//!
//! JSON and the metrics' format escape what they themselves need. Beyond that they let pass what terminals obey
//! and what turns the order of letters around.

use std::io::{self, Write};

use serde_json::ser::{CompactFormatter, Formatter};

/// Whether a terminal would do something else with it than show it.
pub(super) fn is_hostile(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            // Directions, separators of lines, and marks that nobody sees.
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// A label's value: what is hostile is written as its number.
pub(super) fn label(text: &str) -> String {
    if !text.contains(is_hostile) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|letter| {
            let (shown, number) = if is_hostile(letter) {
                (None, Some(letter.escape_unicode()))
            } else {
                (Some(letter), None)
            };
            shown.into_iter().chain(number.into_iter().flatten())
        })
        .collect()
}

/// Writes JSON in which every hostile letter is escaped, also where JSON does not ask for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Harmless(CompactFormatter);

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !fragment.contains(is_hostile) {
            return self.0.write_string_fragment(writer, fragment);
        }
        for letter in fragment.chars() {
            let mut bytes = [0; 4];
            let text = letter.encode_utf8(&mut bytes);
            if is_hostile(letter) {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            } else {
                self.0.write_string_fragment(writer, text)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize as _;

    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2028}\u{200b}\"\\\né\u{1f600}";

    #[test]
    fn json_says_the_same_and_shows_nothing_hostile() {
        let mut written = Vec::new();
        let mut to = serde_json::Serializer::with_formatter(&mut written, Harmless::default());
        HOSTILE.serialize(&mut to).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert!(!text.contains(is_hostile), "{text:?}");
        assert!(text.contains("é\u{1f600}"), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), HOSTILE);
    }

    #[test]
    fn labels_show_nothing_hostile() {
        assert_eq!(label("kasm-db"), "kasm-db");
        assert_eq!(label("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\u{a}");
        assert!(!label(HOSTILE).contains(is_hostile));
    }
}
