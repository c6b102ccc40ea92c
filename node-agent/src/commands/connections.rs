//! The connections that somebody asks about: inline, as a table, or as JSON lines.

mod json;
mod problem;
mod tsv;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use node_agent_engine::model::Protocol;
use node_agent_engine::verdict::{Decision, Verdict};

use super::{Error, input};
use crate::shown;
pub use problem::Problem;

/// A connection as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) place: Place,
    pub(super) from: String,
    pub(super) to: String,
    /// Absent for ICMP, and when it does not matter.
    pub(super) port: Option<u16>,
    pub(super) protocol: Protocol,
    pub(super) from_ip: Option<IpAddr>,
    pub(super) to_ip: Option<IpAddr>,
    pub(super) via_service: bool,
    pub(super) expected: Expected,
}

impl Asked {
    /// `5432/TCP`, or just the protocol.
    pub(super) fn port_in_words(&self) -> String {
        match self.port {
            Some(port) => format!("{port}/{}", self.protocol),
            None => self.protocol.to_string(),
        }
    }
}

/// What somebody expects of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) verdict: Option<Decision>,
    pub(super) egress: Option<Wanted>,
    pub(super) ingress: Option<Wanted>,
}

/// What is wanted of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That it says this.
    Is(Decision),
    /// That it is not the one that denies.
    NotDenied,
}

impl Expected {
    /// Whether the verdict is what was expected; absent when nothing was.
    pub(super) fn matches(&self, verdict: &Verdict) -> Option<bool> {
        let whole = self.verdict.map(|wanted| wanted == verdict.verdict);
        let side = |wanted: Option<Wanted>, found: Decision| {
            wanted.map(|wanted| match wanted {
                Wanted::Is(wanted) => wanted == found,
                Wanted::NotDenied => found != Decision::Denied,
            })
        };
        let egress = side(self.egress, verdict.egress.verdict);
        let ingress = side(self.ingress, verdict.ingress.verdict);
        let given = [whole, egress, ingress].into_iter().flatten();
        given.reduce(|all, one| all && one)
    }
}

/// Where a connection was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the command line.
    Inline,
    /// In a file.
    Line {
        /// The file, `-` for stdin.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline => f.write_str("command line"),
            Self::Line { file, line } => write!(f, "{} line {line}", shown::File(file)),
        }
    }
}

/// Reads a file of connections, `-` for stdin; JSON lines begin with a brace, anything else is a table.
pub(super) fn read(path: &Path) -> Result<Vec<Asked>, Error> {
    let asked = parse(path, &input::read(path)?)?;
    if asked.is_empty() {
        return Err(Error::NoConnection {
            path: path.to_owned(),
        });
    }
    Ok(asked)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Asked>, Error> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let place = Place::Line {
                file: path.to_owned(),
                line: index + 1,
            };
            (place, line)
        });
    if text.trim_start().starts_with('{') {
        lines
            .map(|(place, line)| located(place, |place| json::asked(place, line)))
            .collect()
    } else {
        let mut lines = lines;
        let Some((place, header)) = lines.next() else {
            return Ok(Vec::new());
        };
        let columns = located(place, |_| tsv::Columns::of(header))?;
        lines
            .map(|(place, line)| located(place, |place| columns.asked(place, line)))
            .collect()
    }
}

fn located<T>(place: Place, read: impl FnOnce(Place) -> Result<T, Problem>) -> Result<T, Error> {
    read(place.clone()).map_err(|problem| Error::Connection { place, problem })
}

/// Reads `5432/TCP`, `53/udp`, `ICMP` or `-/ICMP`; without a protocol it is TCP.
pub(super) fn port_and_protocol(text: &str) -> Result<(Option<u16>, Protocol), Problem> {
    let text = text.trim();
    let (number, name) = match text.split_once('/') {
        Some((number, name)) => (number, name),
        None if text.starts_with(|c: char| c.is_ascii_alphabetic()) => ("-", text),
        None => (text, "TCP"),
    };
    let protocol = protocol(name).ok_or_else(|| Problem::Protocol {
        text: text.to_owned(),
    })?;
    let port = match number {
        "-" | "*" => None,
        number => Some(
            number
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| Problem::Port {
                    text: text.to_owned(),
                })?,
        ),
    };
    with_port(port, protocol)
}

/// ICMP has no port.
fn with_port(port: Option<u16>, protocol: Protocol) -> Result<(Option<u16>, Protocol), Problem> {
    match (protocol, port) {
        (Protocol::Icmp | Protocol::Icmpv6, Some(port)) => Err(Problem::IcmpPort { port }),
        (Protocol::Icmp | Protocol::Icmpv6, None)
        | (Protocol::Tcp | Protocol::Udp | Protocol::Sctp, _) => Ok((port, protocol)),
    }
}

fn protocol(name: &str) -> Option<Protocol> {
    let all = [
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::Sctp,
        Protocol::Icmp,
        Protocol::Icmpv6,
    ];
    all.into_iter()
        .find(|protocol| protocol.to_string().eq_ignore_ascii_case(name.trim()))
}

/// Reads what is expected: the words of policy, and those of conformance suites.
pub(super) fn decision(word: &str) -> Option<Decision> {
    match word.trim() {
        "allowed" | "allow" => Some(Decision::Allowed),
        "denied" | "deny" => Some(Decision::Denied),
        "unknown" => Some(Decision::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
