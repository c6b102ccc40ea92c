//! The paths that Rust code names: `a::b::C`, those in the braces of a `use` written out.

/// A path as the code names it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// What stands between the colons.
    pub(crate) segments: Vec<&'a str>,
    /// Whether it is called as a macro.
    pub(crate) is_macro: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Colons,
    Open,
    Close,
    Bang,
    Other,
}

/// Gives every path in this code, which has its comments and literals blanked.
pub(crate) fn named(code: &str) -> Vec<Named<'_>> {
    let mut walk = Walk {
        tokens: tokens(code),
        at: 0,
        found: Vec::new(),
    };
    while walk.at < walk.tokens.len() {
        walk.group(&[]);
        walk.at += 1;
    }
    walk.found
}

struct Walk<'a> {
    tokens: Vec<(usize, Token<'a>)>,
    at: usize,
    found: Vec<Named<'a>>,
}

impl<'a> Walk<'a> {
    /// Walks to the brace that closes this group: `prefix::{…}`, or a block when there is no prefix.
    fn group(&mut self, prefix: &[&'a str]) {
        while let Some((line, token)) = self.tokens.get(self.at).copied() {
            match token {
                Token::Close => return,
                Token::Word("as") if !prefix.is_empty() => self.at += 2,
                Token::Word(first) => self.path(line, prefix, first),
                Token::Open => {
                    self.at += 1;
                    self.group(&[]);
                    self.at += 1;
                }
                Token::Colons | Token::Bang | Token::Other => self.at += 1,
            }
        }
    }

    /// Walks one path, and into its group when it has one.
    fn path(&mut self, line: usize, prefix: &[&'a str], first: &'a str) {
        let mut segments = prefix.to_vec();
        segments.push(first);
        self.at += 1;
        while self.peek(0) == Some(Token::Colons) {
            match self.peek(1) {
                Some(Token::Word(next)) => {
                    segments.push(next);
                    self.at += 2;
                }
                Some(Token::Open) => {
                    self.at += 2;
                    self.group(&segments);
                    self.at += 1;
                    return;
                }
                _ => break,
            }
        }
        let is_macro = self.peek(0) == Some(Token::Bang);
        self.found.push(Named {
            line,
            segments,
            is_macro,
        });
    }

    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|(_, token)| *token)
    }
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let word = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                .len();
        let (token, length) = match first {
            _ if word > 0 => (Token::Word(rest.split_at(word).0), word),
            ':' if rest.starts_with("::") => (Token::Colons, 2),
            '{' => (Token::Open, 1),
            '}' => (Token::Close, 1),
            '!' if !rest.starts_with("!=") => (Token::Bang, 1),
            _ => (Token::Other, first.len_utf8()),
        };
        line += usize::from(first == '\n');
        if !first.is_whitespace() {
            found.push((line, token));
        }
        rest = rest.split_at(length).1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_out() {
        let code = "use std::{fs, net::{TcpStream as S, IpAddr}};\nfn f() { a::b!(c); ::std::env::var(x) }";
        let paths: Vec<_> = named(code)
            .iter()
            .map(|path| path.segments.join("::"))
            .collect();
        let wanted = [
            "use",
            "std::fs",
            "std::net::TcpStream",
            "std::net::IpAddr",
            "fn",
            "f",
            "a::b",
            "c",
            "std::env::var",
            "x",
        ];
        assert_eq!(paths, wanted);
    }

    #[test]
    fn lines_and_macros_are_kept() {
        let found = named("\n\nprintln!();\nif a != b {}\n");
        let printed = found.first();
        assert_eq!(
            printed.map(|path| (path.line, path.is_macro)),
            Some((3, true))
        );
        assert!(found.iter().skip(1).all(|path| !path.is_macro));
    }
}
