//! `netverdict evaluate`: a verdict for each connection of a list.

use std::path::PathBuf;
use std::rc::Rc;

use clap::{Args, ValueEnum};
use node_agent_engine::model::Protocol;
use node_agent_engine::verdict::{Decision, Side, UnknownBecause, Verdict};
use node_agent_engine::{Connection, Profile};
use serde::Serialize;
use serde_json::value::RawValue;

use super::connections::{self, Asked, Expected, Wanted};
use super::inline::InlineArgs;
use super::isolating::Isolating;
use super::print::{self, Printer};
use super::source::{ClusterArgs, Ground};
use super::{Error, Found, ends};

/// How it is called.
pub const USAGE: &str = "\
netverdict evaluate --cluster SOURCE... --connections FILE [OPTIONS]
       netverdict evaluate --cluster SOURCE... --from END --to END --port PORT/PROTOCOL [OPTIONS]";

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  Hold expectations against policies, in CI:
    netverdict evaluate --cluster manifests/ --connections expect.tsv -o table

  Ask for one connection:
    netverdict evaluate --cluster manifests/ --from shop/web-0 --to shop/db-0 --port 5432/TCP

A table of connections has this header, tabs between its cells; the last two columns may be left out:
    from    to    port/protocol    verdict    denied in direction
    shop/web-0    shop/db-0    5432/TCP    denied    ingress

JSON lines have these fields, all after `protocol` may be left out:
    {\"from\": \"shop/web-0\", \"to\": \"192.0.2.1\", \"port\": 443, \"protocol\": \"TCP\", \"from_ip\": \"10.0.0.7\",
     \"to_ip\": \"192.0.2.1\", \"via\": \"service\", \"expect\": \"denied\", \"expect_egress\": \"denied\", \"expect_ingress\": \"allowed\"}

An end is NAMESPACE/POD or any address: a pod's, a node's, a Service's, or one outside the cluster. A connection is a \
new one, to the real destination and its port: behind a Service that is the pod and its target port.

`nearest` is the rule that misses the fewest conditions; among equals that of the first policy by name, then the
first rule, peer and port. It is absent when no isolating policy has a rule, and when one may match.

Exit codes: 0 done, 1 a verdict is not the expected one, 2 bad usage or unreadable input.";

/// The flags of `netverdict evaluate`, as written.
#[derive(Args, Debug)]
pub struct EvaluateArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Connections to judge, a table or JSON lines; `-` is stdin.
    #[arg(long, value_name = "FILE", required_unless_present = "from", conflicts_with_all = ["from", "to", "port"])]
    connections: Option<PathBuf>,
    #[command(flatten)]
    inline: Option<InlineArgs>,
    /// How verdicts are printed.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "json")]
    output: Format,
}

/// How verdicts are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line of JSON each.
    Json,
    /// A table for people.
    Table,
}

/// Judges every connection and holds it against what is expected.
///
/// # Errors
///
/// When the cluster or the connections cannot be read; then nothing has been printed.
pub fn run(args: EvaluateArgs) -> Result<Found, Error> {
    let EvaluateArgs {
        cluster,
        connections: file,
        inline,
        output,
    } = args;
    let mut asked = file.as_deref().map_or(Ok(Vec::new()), connections::read)?;
    asked.extend(inline.map(InlineArgs::asked).transpose()?);
    let ground = cluster.load()?;
    let connections = asked
        .iter()
        .map(|asked| ends::located(&ground.cluster, asked))
        .collect::<Result<Vec<_>, _>>()?;
    let judged = asked.iter().zip(&connections);
    match output {
        Format::Json => json(&ground, judged),
        Format::Table => table(&ground, judged),
    }
}

fn json<'a>(
    ground: &Ground,
    connections: impl Iterator<Item = (&'a Asked, &'a Connection)>,
) -> Result<Found, Error> {
    let mut printer = Printer::without_colours();
    let mut isolating = Isolating::default();
    let mut found = Found::Nothing;
    for (asked, connection) in connections {
        let mut verdict = judge(ground, connection);
        let matches = asked.expected.matches(&verdict);
        found = found.or(matches == Some(false));
        let isolated_by = isolating.taken_from(connection, &mut verdict)?;
        printer.json(&Answer::new(asked, &verdict, isolated_by, matches))?;
    }
    printer.finish()?;
    Ok(found)
}

fn table<'a>(
    ground: &Ground,
    connections: impl Iterator<Item = (&'a Asked, &'a Connection)>,
) -> Result<Found, Error> {
    let mut table = print::table([
        "verdict", "expected", "from", "to", "port", "egress", "ingress",
    ]);
    let mut found = Found::Nothing;
    for (asked, connection) in connections {
        let verdict = judge(ground, connection);
        let matches = asked.expected.matches(&verdict);
        found = found.or(matches == Some(false));
        table.add_row(print::row([
            print::word(verdict.verdict).to_owned(),
            in_words(&asked.expected, matches),
            asked.from.clone(),
            asked.to.clone(),
            asked.port_in_words(),
            verdict.egress.in_words(),
            verdict.ingress.in_words(),
        ]));
    }
    let mut printer = Printer::new();
    printer.table(&table)?;
    printer.finish()?;
    Ok(found)
}

fn judge(ground: &Ground, connection: &Connection) -> Verdict {
    let profile: Profile = ground.profile;
    ground.cluster.evaluate(connection, profile)
}

fn in_words(expected: &Expected, matches: Option<bool>) -> String {
    match (matches, expected.verdict) {
        (None, _) => String::new(),
        (Some(true), _) => "yes".to_owned(),
        (Some(false), Some(wanted)) => format!("no, {}", print::word(wanted)),
        (Some(false), None) => "no".to_owned(),
    }
}

/// One answer as a line.
#[derive(Serialize)]
struct Answer<'a> {
    from: &'a str,
    to: &'a str,
    port: Option<u16>,
    protocol: Protocol,
    verdict: Decision,
    egress: SideLine<'a>,
    ingress: SideLine<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_because: Option<UnknownBecause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_egress: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_ingress: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<bool>,
}

/// A side as in records, but with its list of policies also when nobody isolates.
#[derive(Serialize)]
struct SideLine<'a> {
    #[serde(flatten)]
    side: &'a Side,
    isolated_by: Rc<RawValue>,
}

impl<'a> SideLine<'a> {
    /// The side has no list of its own any more.
    fn new(side: &'a Side, isolated_by: Rc<RawValue>) -> Self {
        Self { side, isolated_by }
    }
}

impl<'a> Answer<'a> {
    fn new(
        asked: &'a Asked,
        verdict: &'a Verdict,
        [out, into]: [Rc<RawValue>; 2],
        matches: Option<bool>,
    ) -> Self {
        let side = |wanted: Option<Wanted>| match wanted {
            Some(Wanted::Is(decision)) => Some(decision),
            Some(Wanted::NotDenied) | None => None,
        };
        Self {
            from: &asked.from,
            to: &asked.to,
            port: asked.port,
            protocol: asked.protocol,
            verdict: verdict.verdict,
            egress: SideLine::new(&verdict.egress, out),
            ingress: SideLine::new(&verdict.ingress, into),
            unknown_because: verdict.unknown_because,
            expected: asked.expected.verdict,
            expected_egress: side(asked.expected.egress),
            expected_ingress: side(asked.expected.ingress),
            matches,
        }
    }
}
