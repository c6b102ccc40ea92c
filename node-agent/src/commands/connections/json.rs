//! Connections as JSON lines.

use node_agent_engine::verdict::Decision;
use serde::Deserialize;

use super::{Asked, Expected, Place, Problem, Wanted, decision, protocol, with_port};
use crate::commands::ends::given;

/// A line as written. A field that is not known is a slip that must not pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    from: String,
    to: String,
    #[serde(default)]
    port: Option<i64>,
    protocol: String,
    #[serde(default)]
    from_ip: Option<String>,
    #[serde(default)]
    to_ip: Option<String>,
    #[serde(default)]
    via: Option<Via>,
    #[serde(default)]
    expect: Option<String>,
    #[serde(default)]
    expect_egress: Option<String>,
    #[serde(default)]
    expect_ingress: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Via {
    Service,
}

/// Reads a line.
pub(super) fn asked(place: Place, line: &str) -> Result<Asked, Problem> {
    let Line {
        from,
        to,
        port,
        protocol: name,
        from_ip,
        to_ip,
        via,
        expect,
        expect_egress,
        expect_ingress,
    } = serde_json::from_str(line).map_err(|error| problem(&error))?;
    let protocol = protocol(&name).ok_or(Problem::Protocol { text: name })?;
    let number = |port: i64| {
        let number = u16::try_from(port).ok().filter(|port| *port > 0);
        number.ok_or_else(|| Problem::Port {
            text: port.to_string(),
        })
    };
    let (port, protocol) = with_port(port.map(number).transpose()?, protocol)?;
    let side = |word: Option<String>| Ok(expectation(word)?.map(Wanted::Is));
    Ok(Asked {
        place,
        from,
        to,
        port,
        protocol,
        from_ip: given("from_ip", from_ip)?,
        to_ip: given("to_ip", to_ip)?,
        via_service: via.is_some_and(|via| match via {
            Via::Service => true,
        }),
        expected: Expected {
            verdict: expectation(expect)?,
            egress: side(expect_egress)?,
            ingress: side(expect_ingress)?,
        },
    })
}

fn expectation(word: Option<String>) -> Result<Option<Decision>, Problem> {
    word.map(|word| decision(&word).ok_or(Problem::Expectation { text: word }))
        .transpose()
}

/// The parser counts lines in what it was given, which is always the first.
fn problem(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    Problem::Json {
        column: error.column(),
        message: message.to_owned(),
    }
}
