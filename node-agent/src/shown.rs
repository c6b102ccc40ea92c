//! Text that comes from others, made harmless for whoever looks at it in a terminal.
//!
//! JSON and the metrics' format escape what they themselves need. Beyond that they let pass what terminals obey
//! and what turns the order of letters around. Names, labels, annotations, files and policies are others' text, and so
//! is what errors say of them.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

/// The path that stands for standard input.
pub const STDIN: &str = "-";

/// Whether a terminal would do something else with it than show it.
fn is_hostile(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            // Directions, separators of lines, and marks that nobody sees.
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// One piece of text, as a name or a label: what is hostile is written as its number.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, is_hostile)
}

/// Text of several lines: they stay apart, and so do words that a tab separates.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| {
        is_hostile(letter) && !matches!(letter, '\n' | '\t')
    })
}

/// A message that may go on in more lines: they are set in, so that none is taken for another message.
#[must_use]
pub fn message(text: &str) -> String {
    lines(text).replace('\n', "\n  ")
}

/// JSON that was made for people, with line breaks: what is hostile stands within strings, and stays what it was.
#[must_use]
pub fn pretty_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_hostile(letter) && letter != '\n' {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A file as messages name it.
#[derive(Clone, Copy, Debug)]
pub struct File<'a>(pub &'a Path);

impl fmt::Display for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_os_str() == STDIN {
            return f.write_str("stdin");
        }
        write!(f, "`{}`", text(&self.0.to_string_lossy()))
    }
}

fn escaped(text: &str, is_hostile: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hostile) {
        return Cow::Borrowed(text);
    }
    let letters = text.chars().flat_map(|letter| {
        let (shown, number) = if is_hostile(letter) {
            (None, Some(letter.escape_unicode()))
        } else {
            (Some(letter), None)
        };
        shown.into_iter().chain(number.into_iter().flatten())
    });
    Cow::Owned(letters.collect())
}

/// Standard error for whatever is logged.
///
/// A line comes in one piece, and stays one line: nobody's text makes others, such as one that says `ready`. The colours
/// in it are the logger's own: it escapes those of others itself.
#[derive(Clone, Copy, Debug)]
pub struct Stderr {
    /// The logger may colour its lines.
    pub has_colour: bool,
}

impl Stderr {
    fn line(self, logged: &str) -> String {
        let is_ours = |letter| letter == '\t' || (self.has_colour && letter == '\u{1b}');
        let line = logged.strip_suffix('\n').unwrap_or(logged);
        let shown = escaped(line, |letter| is_hostile(letter) && !is_ours(letter));
        format!("{shown}\n")
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = self.line(&String::from_utf8_lossy(bytes));
        io::stderr().write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes JSON in which every hostile letter is escaped, also where JSON does not ask for it.
#[derive(Clone, Debug, Default)]
pub struct Harmless(CompactFormatter);

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

/// A value as JSON in one line.
///
/// # Errors
///
/// When it cannot be serialized.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    append_json(&mut bytes, value)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Appends a value as JSON in one line, without its end.
///
/// # Errors
///
/// When it cannot be serialized.
pub fn append_json(bytes: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(bytes, Harmless::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2028}\u{200b}\"\\\né\u{1f600}";

    #[test]
    fn json_says_the_same_and_shows_nothing_hostile() {
        let text = json(&HOSTILE).unwrap();
        assert!(!text.contains(is_hostile), "{text:?}");
        assert!(text.contains("é\u{1f600}"), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), HOSTILE);
    }

    #[test]
    fn pretty_json_says_the_same_and_shows_nothing_hostile() {
        let pretty = serde_json::to_string_pretty(&[HOSTILE]).unwrap();
        let text = pretty_json(&pretty);
        assert!(!text.replace('\n', "").contains(is_hostile), "{text:?}");
        assert_eq!(
            serde_json::from_str::<[String; 1]>(&text).unwrap(),
            [HOSTILE]
        );
    }

    #[test]
    fn text_shows_nothing_hostile() {
        assert_eq!(text("kasm-db"), "kasm-db");
        assert_eq!(text("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\u{a}");
        assert_eq!(lines("a\n\tb\r"), "a\n\tb\\u{d}");
        assert!(!text(HOSTILE).contains(is_hostile));
    }

    #[test]
    fn nobody_makes_lines_of_ours() {
        let forged = "x\nready\n";
        assert_eq!(message(forged), "x\n  ready\n  ");
        for has_colour in [false, true] {
            let line = Stderr { has_colour }.line(&format!("{forged}\n"));
            assert_eq!(line, "x\\u{a}ready\\u{a}\n");
        }
    }

    #[test]
    fn files_have_names() {
        assert_eq!(File(Path::new("-")).to_string(), "stdin");
        assert_eq!(File(Path::new("a\u{202e}b")).to_string(), "`a\\u{202e}b`");
    }
}
