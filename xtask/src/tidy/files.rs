//! The shape of files: their names, their length, and no paths of somebody's own machine in them.

use super::source::Source;
use super::{Place, Tree};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 4] = ["util", "utils", "helper", "helpers"];
const MOST_LINES: usize = 400;
/// What a longer file says in its first lines.
const EXCUSE: &str = "// Over 400 lines: ";
/// Folders that are only on the machine of whoever wrote the line.
const HOMES: [&str; 3] = ["root", "work", "home"];

/// Checks the names and lengths of Rust files.
pub(super) fn check_shape(tree: &Tree) -> Vec<Place> {
    let mut places = Vec::new();
    for source in tree.rust_below("") {
        let stem = source.stem();
        let is_empty_name = EMPTY_NAMES
            .iter()
            .any(|name| stem == *name || stem.starts_with(&format!("{name}_")));
        if is_empty_name || stem == "common" || in_empty_folder(source) {
            places.push(Place::new(source, 1, "name the file after what it does"));
        }
        let lines = source.text.lines().count();
        if lines > MOST_LINES && !has_excuse(source) {
            let what = format!("{lines} lines; split it, or say why not in `{EXCUSE}…` at its top");
            places.push(Place::new(source, MOST_LINES + 1, what));
        }
    }
    places
}

/// Finds absolute paths of a home or work folder, in documents too.
pub(super) fn check_home_paths(tree: &Tree) -> Vec<Place> {
    let mut places = Vec::new();
    for source in &tree.sources {
        for (at, line) in source.text.lines().enumerate() {
            if let Some(folder) = HOMES.iter().find(|folder| has_absolute(line, folder)) {
                places.push(Place::new(
                    source,
                    at + 1,
                    format!("names a path below /{folder} of one machine"),
                ));
            }
        }
    }
    places
}

fn in_empty_folder(source: &Source) -> bool {
    let folders = source.path.split('/').rev().skip(1);
    folders
        .into_iter()
        .any(|folder| EMPTY_NAMES.contains(&folder))
}

fn has_excuse(source: &Source) -> bool {
    let reason = source
        .text
        .lines()
        .take(3)
        .find_map(|line| line.strip_prefix(EXCUSE));
    reason.is_some_and(|reason| !reason.trim().is_empty())
}

/// Tells whether an absolute path below this folder of the root stands in the line: not the middle of a
/// relative path or of an address.
fn has_absolute(line: &str, folder: &str) -> bool {
    let pattern = format!("/{folder}/");
    line.match_indices(&pattern).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        before.is_none_or(|before| !before.is_alphanumeric() && !"_-./}~>$*".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    fn check(rule: fn(&Tree) -> Vec<Place>, path: &str, text: &str) -> usize {
        rule(&tree(&[(path, text)])).len()
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        for path in [
            "a/src/utils.rs",
            "a/src/helpers.rs",
            "a/src/common.rs",
            "a/src/util_net.rs",
            "a/src/utils/net.rs",
        ] {
            assert_eq!(check(check_shape, path, ""), 1, "{path}");
        }
        assert_eq!(check(check_shape, "node-agent-common/src/tuple.rs", ""), 0);
    }

    #[test]
    fn long_files_need_a_reason() {
        let long = "x\n".repeat(MOST_LINES + 1);
        assert_eq!(check(check_shape, "a.rs", &long), 1);
        assert_eq!(check(check_shape, "a.rs", &"x\n".repeat(MOST_LINES)), 0);
        assert_eq!(
            check(check_shape, "a.rs", &format!("{EXCUSE}one table\n{long}")),
            0
        );
        assert_eq!(check(check_shape, "a.rs", &format!("{EXCUSE}\n{long}")), 1);
        assert_eq!(check(check_shape, "data.json", &long), 0);
    }

    #[test]
    fn paths_of_one_machine_are_found_everywhere() {
        let home = format!("/{}/", HOMES[0]);
        for (path, before) in [
            ("README.md", "see `"),
            ("a.rs", "// in "),
            ("a.toml", "path = \""),
        ] {
            assert_eq!(
                check(check_home_paths, path, &format!("{before}{home}x")),
                1,
                "{path}"
            );
        }
        for before in ["https://example.org", "..", "$HOME", "target"] {
            assert_eq!(
                check(check_home_paths, "README.md", &format!("{before}{home}x")),
                0,
                "{before}"
            );
        }
    }
}
