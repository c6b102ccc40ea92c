//! Environment variables of flags that take no value.

use std::process::Command;

use crate::support::binary;

/// What the agent says to a recording that is not there, when its flags are right.
fn said(variables: &[(&str, &str)], flags: &[&str]) -> String {
    let output = Command::new(binary())
        .args(["agent", "--replay", "/nowhere/recording"])
        .args(flags)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{variables:?} {flags:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn yes_and_no_have_several_words() {
    for name in ["NETVERDICT_STRICT", "NETVERDICT_NO_VALIDATION"] {
        for word in ["1", "true", "yes", "on", "0", "false", "no", "off"] {
            let stderr = said(&[(name, word)], &[]);
            assert!(
                stderr.contains("/nowhere/recording"),
                "{name}={word}: {stderr}"
            );
        }
        let stderr = said(&[(name, "perhaps")], &[]);
        assert!(stderr.contains("'perhaps'"), "{stderr}");
    }
}

#[test]
fn no_contradicts_nobody() {
    for (word, excludes) in [("0", false), ("no", false), ("1", true), ("yes", true)] {
        let stderr = said(&[("NETVERDICT_STRICT", word)], &["--no-validation"]);
        assert_eq!(
            stderr.contains("exclude each other"),
            excludes,
            "{word}: {stderr}"
        );
    }
}
