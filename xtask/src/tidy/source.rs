//! The house's files, and what of a Rust file is code.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::Context;

/// What the rules read; other files (data, pictures) are left alone.
const EXTENSIONS: [&str; 10] = [
    "rs", "toml", "md", "yaml", "yml", "json", "sh", "tsv", "nft", "txt",
];
/// Folders that are not the house's own.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// One text file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path from the workspace's folder, with slashes.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
    /// Its text with comments blanked, lines kept.
    pub(crate) uncommented: String,
    /// Its text with comments and literals blanked, lines kept.
    pub(crate) code: String,
}

impl Source {
    /// Makes a source from its text.
    pub(crate) fn new(path: String, text: String) -> Self {
        let (uncommented, code) = if path.ends_with(".rs") {
            (blank(&text, false), blank(&text, true))
        } else {
            (text.clone(), text.clone())
        };
        Self {
            path,
            text,
            uncommented,
            code,
        }
    }

    /// Tells whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Tells whether the whole file is there for tests only.
    pub(crate) fn is_test(&self) -> bool {
        let stem = self.stem();
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || stem == "tests"
            || stem.ends_with("_tests")
    }

    /// Gives the file's name without its extension.
    pub(crate) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.split('.').next().unwrap_or(name)
    }

    /// Gives the lines, counted from 1, of the modules that are compiled for tests only.
    pub(crate) fn test_lines(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for (start, _) in self.code.match_indices("#[cfg(test)]") {
            let rest = self.code.get(start..).unwrap_or_default();
            let end = closing_brace(rest).map_or(self.code.len(), |length| start + length);
            let line_of = |at: usize| {
                1 + self
                    .code
                    .get(..at)
                    .unwrap_or_default()
                    .matches('\n')
                    .count()
            };
            found.push(line_of(start)..line_of(end) + 1);
        }
        found
    }
}

/// Reads every text file of the house.
pub(crate) fn read_all(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    read_folder(root, "", &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_folder(folder: &Path, prefix: &str, sources: &mut Vec<Source>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("read folder `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read folder `{}`", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry
            .file_type()
            .with_context(|| format!("look at `{name}`"))?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            read_folder(&entry.path(), &format!("{prefix}{name}/"), sources)?;
        } else if kind.is_file() && is_text(&name) {
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("read `{prefix}{name}`"))?;
            sources.push(Source::new(format!("{prefix}{name}"), text));
        }
    }
    Ok(())
}

fn is_text(name: &str) -> bool {
    match name.rsplit_once('.') {
        Some((_, extension)) => EXTENSIONS.contains(&extension),
        None => name == "run",
    }
}

/// Gives the length up to the end of the item that starts here: its closing brace, or its semicolon.
fn closing_brace(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return Some(at),
            b'}' => depth -= 1,
            b';' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Blanks comments, and with `literals` also strings and characters; lines stay where they are.
fn blank(text: &str, literals: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let (length, hidden) = piece(rest, before);
        let (this, next) = rest.split_at(length.max(first.len_utf8()).min(rest.len()));
        match hidden {
            Hidden::Comment => hide(this, &mut out),
            Hidden::Literal if literals => hide(this, &mut out),
            Hidden::Literal | Hidden::Nothing => out.push_str(this),
        }
        before = this.chars().next_back().unwrap_or(' ');
        rest = next;
    }
    out
}

/// What a piece of Rust is, as far as blanking cares.
enum Hidden {
    Nothing,
    Comment,
    Literal,
}

/// Gives the length of the piece that starts here, and what it is.
fn piece(rest: &str, before: char) -> (usize, Hidden) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Hidden::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Hidden::Comment);
    }
    if rest.starts_with('"') {
        return (string(rest), Hidden::Literal);
    }
    if rest.starts_with('r')
        && !(before.is_alphanumeric() && before != 'b' && before != 'c')
        && before != '_'
        && let Some(length) = raw_string(rest)
    {
        return (length, Hidden::Literal);
    }
    if rest.starts_with('\'')
        && let Some(length) = character(rest)
    {
        return (length, Hidden::Literal);
    }
    (0, Hidden::Nothing)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest
        .get(1..)?
        .chars()
        .take_while(|character| *character == '#')
        .count();
    let body = rest.get(1 + hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(
        body.find(&end)
            .map_or(rest.len(), |at| 2 + hashes + at + end.len()),
    )
}

/// Gives the length of a character literal; none for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut inside = rest.char_indices().skip(1);
    let (_, first) = inside.next()?;
    if first == '\\' {
        return inside
            .skip(1)
            .find(|(_, character)| *character == '\'')
            .map(|(at, _)| at + 1);
    }
    inside
        .next()
        .filter(|(_, character)| *character == '\'')
        .map(|(at, _)| at + 1)
}

fn hide(text: &str, out: &mut String) {
    out.extend(
        text.chars()
            .map(|character| if character == '\n' { '\n' } else { ' ' }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "a(\"x // \\\" y\", 'z', '\\'', '\\u{1}'); // c\nb::<'q>(r#\"1\"2\"#, /* /* */ */ 3);\n";
        let source = Source::new("a.rs".to_owned(), text.to_owned());
        let words: Vec<_> = source.code.split_whitespace().collect();
        assert_eq!(words, ["a(", ",", ",", ",", ");", "b::<'q>(", ",", "3);"]);
        assert_eq!(source.code.lines().count(), 2);
        assert!(source.uncommented.contains("r#\"1\"2\"#"));
        assert!(!source.uncommented.contains("// c"));
    }

    #[test]
    fn test_modules_are_found_by_their_braces() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { c() }\n}\nfn d() {}\n";
        let source = Source::new("a.rs".to_owned(), text.to_owned());
        assert_eq!(source.test_lines(), vec![Range { start: 2, end: 6 }]);
        let elsewhere = Source::new(
            "a.rs".to_owned(),
            "#[cfg(test)]\nmod tests;\nfn d() {}\n".to_owned(),
        );
        assert_eq!(elsewhere.test_lines(), vec![Range { start: 1, end: 3 }]);
    }

    #[test]
    fn test_files_are_known_by_their_place_and_name() {
        for path in [
            "tests/netns/src/run.rs",
            "node-agent/tests/cli.rs",
            "a/src/parse_tests.rs",
            "a/src/x/tests.rs",
        ] {
            assert!(
                Source::new(path.to_owned(), String::new()).is_test(),
                "{path}"
            );
        }
        assert!(!Source::new("node-agent/src/main.rs".to_owned(), String::new()).is_test());
    }
}
