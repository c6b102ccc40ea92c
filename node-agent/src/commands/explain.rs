//! `netverdict explain`: one connection in full.

use clap::{Args, ValueEnum};
use node_agent_engine::explain::{Explanation, Paragraph};
use node_agent_engine::model::Protocol;
use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::connections::Asked;
use super::inline::InlineArgs;
use super::print::{self, Printer};
use super::source::ClusterArgs;
use super::{Error, Found, ends};
use crate::shown;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  Why does web not reach the database?
    netverdict explain --cluster manifests/ --from shop/web-0 --to shop/db-0 --port 5432/TCP

  Apply what would allow it:
    netverdict explain --cluster manifests/ --from shop/web-0 --to shop/db-0 --port 5432/TCP -o json |
      jq -r '.fix[] | .object, \"---\"' | kubectl apply -f -

An end is NAMESPACE/POD or any address: a pod's, a node's, a Service's, or one outside the cluster.

Exit codes: 0 done, 2 bad usage or unreadable input.";

/// The flags of `netverdict explain`, as written.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    inline: InlineArgs,
    /// How it is printed.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

/// How an explanation is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One line of JSON.
    Json,
}

/// Explains a connection.
///
/// # Errors
///
/// When the cluster cannot be read, or the connection makes no sense in it.
pub fn run(args: ExplainArgs) -> Result<Found, Error> {
    let ExplainArgs {
        cluster,
        inline,
        output,
    } = args;
    let asked = inline.asked()?;
    let ground = cluster.load()?;
    let connection = ends::located(&ground.cluster, &asked)?;
    let explanation = ground.cluster.explain(&connection, ground.profile);
    let mut printer = Printer::new();
    match output {
        Format::Json => printer.json(&Answer::new(&asked, &explanation))?,
        Format::Text => text(&mut printer, &explanation.paragraphs())?,
    }
    printer.finish()?;
    Ok(Found::Nothing)
}

fn text(printer: &mut Printer, paragraphs: &[Paragraph]) -> Result<(), Error> {
    for (index, paragraph) in paragraphs.iter().enumerate() {
        let Paragraph {
            heading,
            decision,
            lines,
        } = paragraph;
        if index > 0 {
            printer.line("")?;
        }
        let heading = shown::lines(heading);
        let heading = heading.bold();
        match decision {
            Some(decision) => {
                printer.coloured_line(&format!("{heading}: {}", print::coloured(*decision)))?
            }
            None => printer.coloured_line(&heading.to_string())?,
        }
        for line in lines {
            printer.line(line)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Answer<'a> {
    from: &'a str,
    to: &'a str,
    port: Option<u16>,
    protocol: Protocol,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

impl<'a> Answer<'a> {
    fn new(asked: &'a Asked, explanation: &'a Explanation) -> Self {
        Self {
            from: &asked.from,
            to: &asked.to,
            port: asked.port,
            protocol: asked.protocol,
            explanation,
        }
    }
}
