//! How many tests passed, failed and were skipped.

/// Numbers of tests, and the reasons for what did not run or go well as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) why: Vec<String>,
    /// What the tests that failed said, line by line.
    pub(super) failures: Vec<String>,
}

impl Tally {
    /// One failure that is not a single test's.
    pub(super) fn failed_because(why: String) -> Self {
        Self {
            failed: 1,
            why: vec![why],
            ..Self::default()
        }
    }

    /// A sort that this machine cannot run.
    pub(super) fn skipped_because(why: String) -> Self {
        Self {
            skipped: 1,
            why: vec![why],
            ..Self::default()
        }
    }

    /// Adds two tallies.
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            why: self.why.iter().chain(&other.why).cloned().collect(),
            failures: self
                .failures
                .iter()
                .chain(&other.failures)
                .cloned()
                .collect(),
        }
    }

    /// A sort that ran nothing and gives no reason has failed.
    pub(super) fn or_failed_for_nothing(self) -> Self {
        if self.passed + self.failed > 0 || !self.why.is_empty() {
            return self;
        }
        self.plus(&Self::failed_because("no test ran".to_owned()))
    }
}

/// Reads what a run of test binaries prints, a line at a time.
#[derive(Debug, Default)]
pub(super) struct Reader {
    total: Tally,
    /// What the failed tests of the binary that runs said; none before it says so.
    failures: Option<Vec<String>>,
}

impl Reader {
    /// Reads one line.
    pub(super) fn read(&mut self, line: &str) {
        let plain = without_colour(line);
        if let Some(mut result) = read_result(&plain) {
            result.failures = self.failures.take().unwrap_or_default();
            self.total = self.total.plus(&result);
        } else if plain == "failures:" {
            // Said twice: before what they said, and before the list of their names.
            self.failures.get_or_insert_default();
        } else if let Some(failures) = &mut self.failures {
            failures.push(plain);
        }
    }

    /// Gives all that was read.
    pub(super) fn end(self) -> Tally {
        self.total
    }
}

/// Reads the closing line of one test binary: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn read_result(plain: &str) -> Option<Tally> {
    let (_, numbers) = plain.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = numbers
            .split(';')
            .map(str::trim)
            .find(|part| part.ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some(Tally {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored")?,
        ..Tally::default()
    })
}

/// Takes away the escape sequences that colour a line.
fn without_colour(line: &str) -> String {
    let mut pieces = line.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| {
        // A sequence ends with its first letter.
        let end = piece
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(piece.len(), |at| at + 1);
        plain + piece.get(end..).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: usize, failed: usize, skipped: usize) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
            ..Tally::default()
        }
    }

    fn read(lines: &[&str]) -> Tally {
        let mut reader = Reader::default();
        for line in lines {
            reader.read(line);
        }
        reader.end()
    }

    #[test]
    fn closing_lines_are_read() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(read(&[line]), tally(12, 0, 1));
        let coloured = "test result: \u{1b}[31mFAILED\u{1b}[m. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(read(&[coloured]), tally(1, 2, 0));
        let sgr = "test result: \u{1b}[1;32mok\u{1b}[0m. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(read(&[sgr]), tally(7, 0, 0));
        assert_eq!(read(&[line, coloured]), tally(13, 2, 1));
        assert_eq!(read(&["test engine::labels ... ok"]), tally(0, 0, 0));
        assert_eq!(read(&["test result: ok."]), tally(0, 0, 0));
    }

    #[test]
    fn what_failed_tests_said_is_kept() {
        let run = [
            "test a ... FAILED",
            "failures:",
            "---- a stdout ----",
            "wanted 1, found 2",
            "failures:",
            "    a",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "     Running tests/other.rs",
        ];
        let said = ["---- a stdout ----", "wanted 1, found 2", "    a"];
        assert_eq!(read(&run).failures, said);
        assert_eq!(read(&run).failed, 1);
    }

    #[test]
    fn a_sort_that_ran_nothing_has_failed() {
        assert_eq!(
            Tally::default().or_failed_for_nothing(),
            Tally::failed_because("no test ran".to_owned())
        );
        assert_eq!(tally(0, 0, 4).or_failed_for_nothing().failed, 1);
        let skipped = Tally::skipped_because("needs root".to_owned());
        assert_eq!(skipped.clone().or_failed_for_nothing(), skipped);
        assert_eq!(tally(1, 0, 0).or_failed_for_nothing(), tally(1, 0, 0));
    }
}
