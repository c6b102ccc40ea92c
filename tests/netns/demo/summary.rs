//! The table at the end.

use comfy_table::{Table, presets};
use netns::scenario::Family;
use netns::traffic::Saw;

use crate::story::{Outcome, Played};
use crate::words;

/// One line for each connection: what policy says, what the client saw, what netverdict makes of it.
pub(crate) fn table(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header([
        "from",
        "to",
        "port",
        "",
        "policy says",
        "the client saw",
        "netverdict",
    ]);
    for Played { scene, saw, record } in &outcome.played {
        let text = |pointer: &str| record.as_ref().and_then(|record| record.text(pointer));
        table.add_row([
            scene.from.to_owned(),
            scene.to.to_owned(),
            format!("{}/{}", scene.port, scene.protocol.name()),
            match scene.family {
                Family::V4 => "v4",
                Family::V6 => "v6",
            }
            .to_owned(),
            text("/verdict/verdict").unwrap_or("?").to_owned(),
            match saw {
                Saw::Answer => "an answer",
                Saw::Refused => "\"connection refused\"",
                Saw::Unreachable => "\"unreachable\"",
                Saw::Nothing => "nothing",
            }
            .to_owned(),
            words::plain(text("/assessment").unwrap_or("no record")).to_owned(),
        ]);
    }
    table.to_string()
}

/// How many of each, the two kinds that want attention last.
pub(crate) fn counts(outcome: &Outcome) -> String {
    const ORDER: [&str; 7] = [
        "allowed",
        "blocked",
        "refused",
        "unanswered",
        "unknown",
        "unenforced",
        "unexpected_drop",
    ];
    let of = |assessment: &str| {
        outcome
            .played
            .iter()
            .filter_map(|played| played.record.as_ref())
            .filter(|record| record.assessment() == assessment)
            .count()
    };
    let counted: Vec<String> = ORDER
        .into_iter()
        .map(|assessment| (of(assessment), words::plain(assessment)))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    counted.join(", ")
}
