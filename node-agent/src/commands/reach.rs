//! `netverdict reach`: whom an endpoint can reach, and who can reach it.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use node_agent_engine::reach::{Contacts, Group, Reach, Way, ports_in_words};
use node_agent_engine::record::{Direction, Family};
use node_agent_engine::verdict::Decision;
use serde::Serialize;

use super::connections::Place;
use super::print::{self, Printer};
use super::source::{ClusterArgs, Ground};
use super::{Error, Found, ends, records};

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  What can a pod that was broken into reach?
    netverdict reach --cluster manifests/ --from shop/web-0

  And what did it reach, as an agent has seen it?
    netverdict reach --cluster manifests/ --from shop/web-0 --input-file records.jsonl

  Who can reach the database, as a picture?
    netverdict reach --cluster manifests/ --to shop/db-0 -o dot | dot -Tsvg > db.svg

Every way is listed that policy leaves open on both sides, by workload, with what opens it on each side. The world is \
told by the blocks of addresses that policies name: what `World 0.0.0.0/0` is `except` for is told on its own, or closed. \
`over IPv6` says that it is not so over IPv4. ICMP is left out.

Exit codes: 0 done, 2 bad usage or unreadable input.";

/// How many of those that there is no way to are named.
const NAMED: usize = 10;

/// The flags of `netverdict reach`, as written.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("end").args(["from", "to"]).required(true))]
pub struct ReachArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Whom this can reach: NAMESPACE/POD, or an address.
    #[arg(long, value_name = "END")]
    from: Option<String>,
    /// Who can reach this: NAMESPACE/POD, or an address.
    #[arg(long, value_name = "END")]
    to: Option<String>,
    /// Records of `netverdict agent`, as JSON lines: adds what was reached. `-` is stdin.
    #[arg(long, value_name = "RECORDS")]
    input_file: Option<PathBuf>,
    /// How it is printed.
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value = "table"
    )]
    output: Format,
}

/// How ways are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One line of JSON for each way.
    Json,
    /// A graph for Graphviz.
    Dot,
}

/// Lists the ways from or to an endpoint.
///
/// # Errors
///
/// When the cluster or the records cannot be read, or the endpoint is not in the cluster.
pub fn run(args: ReachArgs) -> Result<Found, Error> {
    let ReachArgs {
        cluster,
        from,
        to,
        input_file,
        output,
    } = args;
    let ground = cluster.load()?;
    let (direction, name) = match (from, to) {
        (Some(from), _) => (Direction::Egress, from),
        (None, to) => (Direction::Ingress, to.unwrap_or_default()),
    };
    let reach = ask(&ground, direction, &name, input_file)?;
    let mut printer = Printer::new();
    match output {
        Format::Table => table(&mut printer, direction, &name, &reach)?,
        Format::Json => {
            for way in &reach.ways {
                printer.json(&Line::new(direction, &name, way))?;
            }
        }
        Format::Dot => dot(&mut printer, direction, &name, &reach)?,
    }
    printer.finish()?;
    Ok(Found::Nothing)
}

fn ask(
    ground: &Ground,
    direction: Direction,
    name: &str,
    input_file: Option<PathBuf>,
) -> Result<Reach, Error> {
    let Ground { cluster, profile } = ground;
    let subject = ends::party(cluster, name, None).map_err(|problem| Error::Connection {
        place: Place::Inline,
        problem,
    })?;
    let records = input_file
        .as_deref()
        .map_or(Ok(Vec::new()), records::read)?;
    let mut reach = cluster.reach(&subject, direction, *profile);
    for record in &records {
        reach.add_record(cluster, &subject, direction, *profile, record);
    }
    Ok(reach)
}

fn table(
    printer: &mut Printer,
    direction: Direction,
    name: &str,
    reach: &Reach,
) -> Result<(), Error> {
    let peer = match direction {
        Direction::Egress => "to",
        Direction::Ingress => "from",
    };
    let with_records = reach.ways.iter().any(|way| way.reached.is_some());
    let reached = with_records.then_some("reached");
    let header = ["verdict", peer, "ports", "egress", "ingress"];
    let mut table = print::table(header.into_iter().chain(reached));
    for way in &reach.ways {
        let cells = [
            print::word(way.verdict).to_owned(),
            peer_in_words(way),
            line_in_words(way),
            way.egress.in_words(),
            way.ingress.in_words(),
        ];
        let reached = reached.map(|_| reached_in_words(way.reached.as_ref()));
        table.add_row(print::row(cells.into_iter().chain(reached)));
    }
    printer.table(&table)?;
    printer.line("")?;
    printer.line(&closed_in_words(direction, name, &reach.closed))
}

/// How many there is no way to or from, and the first of them by name.
fn closed_in_words(direction: Direction, name: &str, closed: &[Group]) -> String {
    let number = match closed.len() {
        1 => "1 other".to_owned(),
        many => format!("{many} others"),
    };
    let sentence = match direction {
        Direction::Egress => format!("{number} cannot be reached from {name}"),
        Direction::Ingress => format!("{number} cannot reach {name}"),
    };
    let mut names: Vec<String> = closed.iter().take(NAMED).map(Group::to_string).collect();
    match closed.len().checked_sub(NAMED) {
        None | Some(0) => {}
        Some(more) => names.push(format!("and {more} more")),
    }
    if names.is_empty() {
        return format!("{sentence}.");
    }
    format!("{sentence}: {}.", names.join("; "))
}

fn peer_in_words(way: &Way) -> String {
    let peer = &way.peer;
    match (way.pods.as_slice(), way.pods_left_out) {
        ([], _) => peer.to_string(),
        ([pod], _) if *pod == peer.name => peer.to_string(),
        ([pod], _) => format!("{peer} ({pod})"),
        (pods, 0) => format!("{peer} ({} pods)", pods.len()),
        (pods, others) => format!("{peer} ({} of {} pods)", pods.len(), pods.len() + others),
    }
}

/// On which ports, and over which addresses where those make a difference.
fn line_in_words(way: &Way) -> String {
    let ports = ports_in_words(&way.ports);
    match way.family {
        None => ports,
        Some(Family::IPv4) => format!("{ports} over IPv4"),
        Some(Family::IPv6) => format!("{ports} over IPv6"),
    }
}

fn reached_in_words(contacts: Option<&Contacts>) -> String {
    contacts.map_or(String::new(), |contacts| {
        format!(
            "{} times on {}, last {}",
            contacts.count,
            ports_in_words(&contacts.ports),
            contacts.last_seen
        )
    })
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(flatten)]
    way: &'a Way,
}

impl<'a> Line<'a> {
    fn new(direction: Direction, name: &'a str, way: &'a Way) -> Self {
        let (from, to) = match direction {
            Direction::Egress => (Some(name), None),
            Direction::Ingress => (None, Some(name)),
        };
        Self { from, to, way }
    }
}

fn dot(
    printer: &mut Printer,
    direction: Direction,
    name: &str,
    reach: &Reach,
) -> Result<(), Error> {
    printer.line("digraph reach {")?;
    printer.line("  rankdir=LR;")?;
    printer.line("  node [shape=box];")?;
    for way in &reach.ways {
        let (own, peer) = (quoted(name), quoted(&way.peer.to_string()));
        let ends = match direction {
            Direction::Egress => format!("{own} -> {peer}"),
            Direction::Ingress => format!("{peer} -> {own}"),
        };
        // Where it does not hold of the whole workload.
        let pods = match way.pods_left_out {
            0 => String::new(),
            _ => format!("{}\n", way.pods.join(", ")),
        };
        let label = format!(
            "{pods}{}\negress: {}\ningress: {}",
            line_in_words(way),
            way.egress.in_words(),
            way.ingress.in_words()
        );
        let style = match (way.verdict, &way.reached) {
            (Decision::Unknown, _) => ", style=dashed",
            (Decision::Denied, _) => ", color=red",
            (Decision::Allowed, Some(_)) => ", penwidth=3",
            (Decision::Allowed, None) => "",
        };
        printer.line(&format!("  {ends} [label={}{style}];", quoted(&label)))?;
    }
    printer.line("}")
}

/// A string of the DOT language.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}
