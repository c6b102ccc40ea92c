//! Conntrack's table: while it is full, what opens a connection is dropped as if a rule had said so.

use std::fs;

use node_agent_engine::input::Moment;

/// A line for each processor, under a line of names: Documentation/networking of `nf_conntrack`'s counters has them as those
/// of `conntrack -S`.
const COUNTERS: &str = "/proc/net/stat/nf_conntrack";

/// How many packets found no room, in this process's network namespace, and when that was last seen to have grown.
#[derive(Debug, Default)]
pub(super) struct Crowded {
    turned_away: Option<u64>,
    grown: Option<Moment>,
    looked: Moment,
}

impl Crowded {
    /// Looks once more; where there is no conntrack nothing is ever full. The counters tell of all that was dropped before.
    pub(super) fn look(&mut self) {
        self.looked = super::now();
        let Ok(text) = fs::read_to_string(COUNTERS) else {
            return;
        };
        let turned_away = turned_away(&text);
        if self.turned_away.is_some() && turned_away > self.turned_away {
            self.grown = Some(self.looked);
        }
        self.turned_away = turned_away;
    }

    /// Whether somebody found no room between two moments. What was dropped before the last look needs no other: a flood of
    /// drops is told of by one.
    pub(super) fn between(&mut self, since: Moment, until: Moment) -> bool {
        if until > self.looked {
            self.look();
        }
        self.grown.is_some_and(|grown| grown >= since)
    }
}

/// The sum of the column `drop`, in hexadecimal.
fn turned_away(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let column = lines
        .next()?
        .split_whitespace()
        .position(|name| name == "drop")?;
    let counts = lines.filter_map(|line| {
        let count = line.split_whitespace().nth(column)?;
        u64::from_str_radix(count, 16).ok()
    });
    Some(counts.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_all_processors_are_one() {
        let text = "entries  clashres found new invalid drop early_drop\n\
                    00040000  00000000 00000000 00000000 00000000 0000000f 00000001\n\
                    00040000  00000000 00000000 00000000 00000000 00000002 00000001\n";
        assert_eq!(turned_away(text), Some(17));
        assert_eq!(turned_away("entries found\n0 0\n"), None);
        assert_eq!(turned_away(""), None);
    }
}
