//! Every kernel program returns "go on": the last word of each is a constant, and there is no other return.

use super::source::Source;
use super::{Place, Tree, paths};

const KERNEL: &str = "node-agent-ebpf/src/";
/// What a program on a packet's way may end with; anything else is a decision.
const ON_THE_WAY: &[&str] = &["GO_ON", "-1"];
/// What a program that only hears of something may end with.
const BESIDE_THE_WAY: &[&str] = &["GO_ON", "0"];
/// What a program in a process's call may end with: whether it is let go is for others to say.
const IN_A_CALL: &[&str] = &["1"];
/// The kinds of programs whose return value decides about a call.
const LETTING: [&str; 1] = ["cgroup_sock_addr"];
/// The kinds of programs whose return value decides about a packet.
const DECIDING: [&str; 1] = ["classifier"];
/// The kinds whose return value decides nothing.
const HEARING: [&str; 6] = [
    "btf_tracepoint",
    "tracepoint",
    "raw_tracepoint",
    "fentry",
    "fexit",
    "kprobe",
];

/// Checks every kernel program's end, and that no fate of a packet is named anywhere.
pub(super) fn check(tree: &Tree) -> Vec<Place> {
    let mut places = Vec::new();
    for source in tree.rust_below(KERNEL) {
        for path in paths::named(&source.code) {
            let fate = path.segments.iter().find(|name| {
                ["TC_ACT_", "TCX_", "XDP_"]
                    .iter()
                    .any(|of| name.starts_with(of))
            });
            if let Some(fate) = fate {
                places.push(Place::new(
                    source,
                    path.line,
                    format!("names {fate}; programs only go on"),
                ));
            }
        }
        places.extend(check_constant(source));
        places.extend(programs(&source.code).into_iter().filter_map(|program| {
            refusal(&program).map(|what| Place::new(source, program.line, what))
        }));
    }
    places
}

/// A function that the kernel calls.
struct Program<'a> {
    line: usize,
    may_end_with: &'static [&'static str],
    body: &'a str,
}

/// `GO_ON` is -1, the same as "next program" for every hook.
fn check_constant(source: &Source) -> Option<Place> {
    let (at, line) = source
        .code
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains("const GO_ON"))?;
    let value = line
        .split('=')
        .nth(1)
        .map(|value| value.trim().trim_end_matches(';'));
    (value != Some("-1")).then(|| Place::new(source, at + 1, "GO_ON must be -1"))
}

fn refusal(program: &Program<'_>) -> Option<String> {
    let last = program
        .body
        .rsplit(['{', '}', ';'])
        .next()
        .unwrap_or_default()
        .trim();
    let may_end_with = program.may_end_with;
    if paths::named(program.body)
        .iter()
        .any(|path| path.segments == ["return"])
    {
        return Some("a program has one end: no `return` in it".to_owned());
    }
    (!may_end_with.contains(&last)).then(|| {
        format!(
            "must end with {}, not with `{last}`",
            may_end_with.join(" or ")
        )
    })
}

fn programs(code: &str) -> Vec<Program<'_>> {
    let mut found = Vec::new();
    let kinds = DECIDING
        .map(|kind| (kind, ON_THE_WAY))
        .into_iter()
        .chain(LETTING.map(|kind| (kind, IN_A_CALL)))
        .chain(HEARING.map(|kind| (kind, BESIDE_THE_WAY)));
    for (kind, may_end_with) in kinds {
        for (at, _) in code.match_indices(&format!("#[{kind}")) {
            let after = code.get(at + 2 + kind.len()..).unwrap_or_default();
            if !after.starts_with([']', '(']) {
                continue;
            }
            let body = after
                .find('{')
                .and_then(|open| after.get(open + 1..))
                .and_then(body)
                .unwrap_or_default();
            let line = 1 + code.get(..at).unwrap_or_default().matches('\n').count();
            found.push(Program {
                line,
                may_end_with,
                body,
            });
        }
    }
    found
}

/// Gives what stands before the brace that closes this body.
fn body(rest: &str) -> Option<&str> {
    let mut depth = 0_usize;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return rest.get(..at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    fn found(text: &str) -> Vec<(usize, String)> {
        let tree = tree(&[("node-agent-ebpf/src/main.rs", text)]);
        check(&tree)
            .into_iter()
            .map(|place| (place.line, place.what))
            .collect()
    }

    #[test]
    fn programs_that_go_on_are_fine() {
        let text = "const GO_ON: i32 = -1;\n#[classifier]\npub fn a(c: C) -> i32 {\n    if x { y() }\n    GO_ON\n}\n\
                    #[btf_tracepoint(function = \"kfree_skb\")]\nfn b(c: C) -> i32 {\n    seen(&c);\n    0\n}\n\
                    // TC_ACT_OK is never returned\n";
        assert_eq!(found(text), []);
    }

    #[test]
    fn a_program_that_decides_is_found() {
        let zero = "\n#[classifier]\nfn a(c: C) -> i32 {\n    seen(c);\n    0\n}\n";
        assert_eq!(
            found(zero),
            [(2, "must end with GO_ON or -1, not with `0`".to_owned())]
        );
        let computed = "#[classifier]\nfn a(c: C) -> i32 { seen(c) }";
        assert_eq!(
            found(computed),
            [(
                1,
                "must end with GO_ON or -1, not with `seen(c)`".to_owned()
            )]
        );
        let early = "#[classifier]\nfn a(c: C) -> i32 { if x { return 1; } GO_ON }";
        assert_eq!(
            found(early),
            [(1, "a program has one end: no `return` in it".to_owned())]
        );
        let denied = "#[cgroup_sock_addr(connect4)]\nfn a(c: C) -> i32 { 0 }";
        assert_eq!(
            found(denied),
            [(1, "must end with 1, not with `0`".to_owned())]
        );
        let named = "fn f() -> i32 { TC_ACT_SHOT }";
        assert_eq!(
            found(named),
            [(1, "names TC_ACT_SHOT; programs only go on".to_owned())]
        );
    }

    #[test]
    fn going_on_is_minus_one() {
        assert_eq!(
            found("const GO_ON: i32 = 0;"),
            [(1, "GO_ON must be -1".to_owned())]
        );
    }
}
