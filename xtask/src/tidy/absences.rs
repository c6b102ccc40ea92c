//! What must not be in the code: unfinished work, silenced lints, skipped tests, and sleeping ones.

use super::source::Source;
use super::{Place, Tree, paths};

/// Written in two parts, or this very line would be found.
const UNFINISHED: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

/// Finds unfinished work, silenced lints and skipped tests.
pub(super) fn check(tree: &Tree) -> Vec<Place> {
    let mut places = Vec::new();
    for source in tree.rust_below("") {
        for path in paths::named(&source.code) {
            let last = path.segments.last();
            let is_unfinished = last.is_some_and(|name| ["todo", "unimplemented"].contains(name));
            if path.is_macro && is_unfinished {
                places.push(Place::new(source, path.line, "finish it, or leave it out"));
            }
        }
        for (at, (code, text)) in source.code.lines().zip(source.text.lines()).enumerate() {
            let code: String = code.split_whitespace().collect();
            if code.contains("#[allow(") || code.contains("#![allow(") {
                places.push(Place::new(
                    source,
                    at + 1,
                    "use #[expect(…, reason = \"…\")]",
                ));
            }
            if code.contains("#[ignore") {
                places.push(Place::new(
                    source,
                    at + 1,
                    "a test that does not run is no test",
                ));
            }
            if UNFINISHED.iter().any(|mark| text.contains(mark)) {
                places.push(Place::new(
                    source,
                    at + 1,
                    "finish it, or file it as an issue",
                ));
            }
        }
    }
    places
}

/// Finds tests that sleep instead of waiting for a condition with a limit.
///
/// One file, `wait.rs`, holds the loop that waits; the demo is no test and may take its time.
pub(super) fn check_sleep(tree: &Tree) -> Vec<Place> {
    let mut places = Vec::new();
    for source in tree
        .rust_below("")
        .filter(|source| source.stem() != "wait" && !is_demo(source))
    {
        let tests = source.test_lines();
        for path in paths::named(&source.code) {
            let sleeps = path.segments.len() > 1 && path.segments.last() == Some(&"sleep");
            if sleeps && (source.is_test() || tests.iter().any(|lines| lines.contains(&path.line)))
            {
                places.push(Place::new(
                    source,
                    path.line,
                    "wait for a condition with a limit, as in wait.rs",
                ));
            }
        }
    }
    places
}

fn is_demo(source: &Source) -> bool {
    source.path.split(['/', '.']).any(|part| part == "demo")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    fn lines(rule: fn(&Tree) -> Vec<Place>, path: &str, text: &str) -> Vec<usize> {
        rule(&tree(&[(path, text)]))
            .into_iter()
            .map(|place| place.line)
            .collect()
    }

    #[test]
    fn unfinished_silenced_and_skipped_code_is_found() {
        for text in [
            "fn f() { todo!() }",
            "fn f() { std::unimplemented!(\"later\") }",
            "#[allow(dead_code)] fn f() {}",
            "#![allow(unused)]",
            "#[ignore] fn f() {}",
            "#[ignore = \"slow\"] fn f() {}",
            concat!("// FIX", "ME later"),
        ] {
            assert_eq!(lines(check, "a.rs", text), [1], "{text}");
        }
    }

    #[test]
    fn the_same_words_in_strings_and_comments_are_free() {
        let text = "// no todo!() and no #[ignore]\nlet a = \"#[allow(x)] unimplemented!()\";\n#[expect(dead_code, reason = \"x\")]\n";
        assert_eq!(lines(check, "a.rs", text), [] as [usize; 0]);
    }

    #[test]
    fn sleeping_tests_are_found() {
        let text = "fn f() {\n    std::thread::sleep(d);\n}\n";
        assert_eq!(lines(check_sleep, "tests/netns/src/run.rs", text), [2]);
        assert_eq!(
            lines(check_sleep, "node-agent/src/agent.rs", text),
            [] as [usize; 0]
        );
        assert_eq!(
            lines(check_sleep, "tests/netns/src/wait.rs", text),
            [] as [usize; 0]
        );
        assert_eq!(
            lines(check_sleep, "tests/netns/src/demo/story.rs", text),
            [] as [usize; 0]
        );
        let inside = "#[cfg(test)]\nmod tests {\n    fn f() { tokio::time::sleep(d) }\n}\n";
        assert_eq!(lines(check_sleep, "node-agent/src/agent.rs", inside), [3]);
    }
}
