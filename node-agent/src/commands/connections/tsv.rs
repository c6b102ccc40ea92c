//! Connections as a table with tabs between its cells.

use node_agent_engine::verdict::Decision;

use super::{Asked, Expected, Place, Problem, Wanted, decision, port_and_protocol};

const NAMES: [&str; 5] = [
    "from",
    "to",
    "port/protocol",
    "verdict",
    "denied in direction",
];
/// How many of them every table has.
const NEEDED: usize = 3;

/// How many of the known columns a table has.
pub(super) struct Columns(usize);

impl Columns {
    /// Reads the header.
    pub(super) fn of(header: &str) -> Result<Self, Problem> {
        let found: Vec<&str> = header.split('\t').map(str::trim).collect();
        let known = NAMES.get(..found.len()).is_some_and(|names| {
            let mut pairs = names.iter().zip(&found);
            pairs.all(|(name, found)| found.eq_ignore_ascii_case(name))
        });
        if !known || found.len() < NEEDED {
            return Err(Problem::Header {
                found: header.to_owned(),
            });
        }
        Ok(Self(found.len()))
    }

    /// Reads a line. Cells at its end that may be left out may be missing there, too.
    pub(super) fn asked(&self, place: Place, line: &str) -> Result<Asked, Problem> {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let wrong = || Problem::Cells {
            wanted: self.0,
            found: cells.len(),
        };
        let [from, to, port, rest @ ..] = cells.as_slice() else {
            return Err(wrong());
        };
        if cells.len() > self.0 {
            return Err(wrong());
        }
        let (port, protocol) = port_and_protocol(port)?;
        let (verdict, direction) = match rest {
            [] => ("-", "-"),
            [verdict] => (*verdict, "-"),
            [verdict, direction, ..] => (*verdict, *direction),
        };
        Ok(Asked {
            place,
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            port,
            protocol,
            from_ip: None,
            to_ip: None,
            via_service: false,
            expected: expected(verdict, direction)?,
        })
    }
}

fn expected(verdict: &str, direction: &str) -> Result<Expected, Problem> {
    let verdict = match verdict {
        "" | "-" => None,
        word => Some(decision(word).ok_or_else(|| Problem::Expectation {
            text: word.to_owned(),
        })?),
    };
    let [mut egress, mut ingress] = [None, None];
    for word in direction.split(['+', ',']).map(str::trim) {
        match word {
            "" | "-" => continue,
            "egress" => egress = Some(Wanted::Is(Decision::Denied)),
            "ingress" => ingress = Some(Wanted::Is(Decision::Denied)),
            _ => {
                return Err(Problem::Direction {
                    text: direction.to_owned(),
                });
            }
        }
    }
    // Where one direction is named, the other one is not meant.
    if egress.is_some() || ingress.is_some() {
        egress = egress.or(Some(Wanted::NotDenied));
        ingress = ingress.or(Some(Wanted::NotDenied));
    }
    Ok(Expected {
        verdict,
        egress,
        ingress,
    })
}
