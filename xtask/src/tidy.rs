//! `cargo xtask tidy`: the rules of the house, as a program.
//!
//! Each rule is a pure function over the house's files and its packages, so that tests can show it a house
//! that breaks it. What the compiler and clippy already check is left to them.

mod absences;
mod arrows;
mod engine;
mod files;
mod kernel;
mod paths;
mod rooms;
mod source;

use std::fmt;

use serde_json::Value;

use crate::Found;
use crate::shell::House;
use source::Source;

/// Everything that the rules look at.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The house's own text files.
    sources: Vec<Source>,
    /// `cargo metadata` without dependencies' own entries.
    metadata: Value,
}

impl Tree {
    /// Gives the Rust files whose path starts with `folder`.
    fn rust_below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a Source> {
        self.sources
            .iter()
            .filter(move |source| source.path.starts_with(folder) && source.is_rust())
    }
}

/// One place where the house breaks its own rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}: {}: {}",
            self.path, self.line, self.rule, self.what
        )
    }
}

/// A rule: its name and how it is checked.
struct Rule {
    name: &'static str,
    check: fn(&Tree) -> Vec<Place>,
}

/// Where a rule is broken, and how.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: String,
    line: usize,
    what: String,
}

impl Place {
    fn new(source: &Source, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: source.path.clone(),
            line,
            what: what.into(),
        }
    }
}

const RULES: [Rule; 10] = [
    Rule {
        name: "dependency-arrows",
        check: arrows::check,
    },
    Rule {
        name: "engine-is-pure",
        check: engine::check_effects,
    },
    Rule {
        name: "wire-types-in-k8s",
        check: engine::check_wire_types,
    },
    Rule {
        name: "rooms-apart",
        check: rooms::check_apart,
    },
    Rule {
        name: "no-cycles",
        check: rooms::check_cycles,
    },
    Rule {
        name: "file-shape",
        check: files::check_shape,
    },
    Rule {
        name: "no-home-paths",
        check: files::check_home_paths,
    },
    Rule {
        name: "absences",
        check: absences::check,
    },
    Rule {
        name: "no-sleep-in-tests",
        check: absences::check_sleep,
    },
    Rule {
        name: "kernel-goes-on",
        check: kernel::check,
    },
];

/// How many rules hold, and where the others do not.
pub(crate) struct Outcome {
    /// The number of rules that hold.
    pub(crate) held: usize,
    /// The number of rules that do not.
    pub(crate) broken: usize,
    /// All places, in the order of their paths.
    pub(crate) violations: Vec<Violation>,
}

/// Checks the house and prints what breaks its rules, one line each.
pub(crate) fn run(house: &House) -> anyhow::Result<Found> {
    let outcome = check(house)?;
    for violation in &outcome.violations {
        anstream::println!("{violation}");
    }
    anstream::eprintln!(
        "tidy: {} rules hold, {} are broken",
        outcome.held,
        outcome.broken
    );
    Ok(if outcome.broken == 0 {
        Found::Nothing
    } else {
        Found::Something
    })
}

/// Reads the house and checks it.
pub(crate) fn check(house: &House) -> anyhow::Result<Outcome> {
    let sources = source::read_all(&house.root)?;
    Ok(check_tree(&Tree {
        sources,
        metadata: house.metadata.clone(),
    }))
}

fn check_tree(tree: &Tree) -> Outcome {
    let mut violations = Vec::new();
    let mut broken = 0;
    for rule in &RULES {
        let places = (rule.check)(tree);
        broken += usize::from(!places.is_empty());
        violations.extend(
            places
                .into_iter()
                .map(|Place { path, line, what }| Violation {
                    path,
                    line,
                    rule: rule.name,
                    what,
                }),
        );
    }
    violations.sort();
    Outcome {
        held: RULES.len() - broken,
        broken,
        violations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A house of these files, without packages.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let sources = files
            .iter()
            .map(|(path, text)| Source::new((*path).to_owned(), (*text).to_owned()))
            .collect();
        Tree {
            sources,
            metadata: Value::Null,
        }
    }

    #[test]
    fn an_empty_house_breaks_no_rule() {
        assert_eq!(check_tree(&tree(&[])).violations, []);
    }

    #[test]
    fn a_violation_is_one_line_with_its_place() {
        let outcome = check_tree(&tree(&[("node-agent/src/utils.rs", "fn f() {}\n")]));
        let lines: Vec<_> = outcome.violations.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["node-agent/src/utils.rs:1: file-shape: name the file after what it does"]
        );
        assert_eq!((outcome.held, outcome.broken), (RULES.len() - 1, 1));
    }
}
