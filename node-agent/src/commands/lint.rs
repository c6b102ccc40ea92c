//! `netverdict lint`: mistakes in policies, with where they stand.

mod sarif;
mod text;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use node_agent_engine::lint::{self, Check, Finding, NamePattern, Options, Report, Severity};
use serde::Serialize;
use serde_json::Serializer;

use super::{Error, Found, print};
use crate::cluster::{Manifests, Place};
use crate::shown::{self, Harmless, STDIN};

/// How it is used.
pub const EXAMPLES: &str = "\
Examples:
  Check manifests before they are applied:
    kubectl kustomize overlays/prod | netverdict lint --cluster - -n shop

  Check policies against everything that runs:
    kubectl get ns,nodes,pods,svc,endpointslices,netpol -A -o yaml | netverdict lint --cluster -

  In CI, for errors only, as SARIF for code scanning:
    netverdict lint --cluster manifests/ -o sarif --fail-on error > netverdict.sarif

The more of the cluster is given, the more can be said: that a selector matches no pod is said only of a \
namespace whose pods are there.

Exit codes: 0 nothing found, 1 something found (at or above --fail-on), 2 bad usage or unreadable input.";

/// The flags of `netverdict lint`, as written.
#[derive(Args, Debug)]
pub struct LintArgs {
    /// File or folder of manifests (.yaml, .yml, .json), or `-` for stdin; may be given several times. Policies
    /// among them are checked, all else is what they are held against.
    #[arg(long, value_name = "SOURCE", required = true)]
    cluster: Vec<PathBuf>,
    /// Namespace of objects that name none.
    #[arg(short, long, value_name = "NS", default_value = "default")]
    namespace: String,
    /// How findings are written.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
    /// End with exit code 1 only for findings at least this bad.
    #[arg(long, value_name = "SEVERITY", value_enum, default_value = "info")]
    fail_on: FailOn,
    /// Checks to leave out, by number.
    #[arg(long, value_name = "N07,..", value_delimiter = ',')]
    disable: Vec<Check>,
    /// Regular expression that the name of each policy has to match, anywhere unless anchored (N35).
    #[arg(long, value_name = "RE")]
    policy_name_pattern: Option<NamePattern>,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// How bad a finding has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Only what surely does not do what is written.
    Error,
    /// Likely mistakes too.
    Warning,
    /// Whatever is found.
    Info,
}

/// A finding with where it stands.
struct Located<'a> {
    finding: &'a Finding,
    /// The file, `stdin` for standard input.
    file: String,
    place: Option<Place>,
}

/// One line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    check: Check,
    severity: Severity,
    object: &'a lint::ObjectName,
    field: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

/// Reads everything, looks for mistakes, and writes them.
///
/// # Errors
///
/// When something cannot be read, or stdout not be written.
pub fn run(args: LintArgs) -> Result<Found, Error> {
    let LintArgs {
        cluster,
        namespace,
        output,
        fail_on,
        disable,
        policy_name_pattern,
    } = args;
    let (manifests, notices) = Manifests::read(&cluster)?;
    for notice in notices {
        print::warn(&notice.to_string());
    }
    let options = Options {
        default_namespace: namespace.into(),
        disabled: BTreeSet::from_iter(disable),
        name_pattern: policy_name_pattern,
    };
    let report = lint::lint(manifests.values(), &options);
    let located: Vec<Located<'_>> = report
        .findings
        .iter()
        .map(|finding| locate(&manifests, finding))
        .collect();
    write(output, &located)?;
    say(&manifests, &report);
    let least = match fail_on {
        FailOn::Error => Severity::Error,
        FailOn::Warning => Severity::Warning,
        FailOn::Info => Severity::Info,
    };
    let is_bad = |finding: &Finding| finding.severity >= least;
    Ok(if report.findings.iter().any(is_bad) {
        Found::Something
    } else {
        Found::Nothing
    })
}

fn locate<'a>(manifests: &Manifests, finding: &'a Finding) -> Located<'a> {
    Located {
        finding,
        file: shown_file(manifests, finding.source),
        place: manifests.place(finding.source, &finding.field),
    }
}

fn shown_file(manifests: &Manifests, object: usize) -> String {
    match manifests.file(object) {
        Some(file) if file.as_os_str() == STDIN => "stdin".to_owned(),
        Some(file) => file.display().to_string(),
        None => String::new(),
    }
}

/// A reader that goes away is no failure.
fn write(format: Format, findings: &[Located<'_>]) -> Result<(), Error> {
    let mut out = BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()));
    match write_as(format, &mut out, findings).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // Dropping it whole would try to write once more.
            let _ = out.into_parts();
            Ok(())
        }
        written => written.map_err(|source| Error::Write { source }),
    }
}

fn write_as(format: Format, out: &mut impl Write, findings: &[Located<'_>]) -> io::Result<()> {
    match format {
        Format::Text => text::write(out, findings),
        Format::Json => findings.iter().try_for_each(|located| json(out, located)),
        Format::Sarif => sarif::write(out, findings),
    }
}

fn json(out: &mut impl Write, located: &Located<'_>) -> io::Result<()> {
    let finding = located.finding;
    let line = Line {
        check: finding.check,
        severity: finding.severity,
        object: &finding.object,
        field: &finding.field,
        message: finding.message(),
        fix: finding.fix.as_deref(),
        file: &located.file,
        line: located.place.map(|place| place.line),
    };
    line.serialize(&mut Serializer::with_formatter(
        &mut *out,
        Harmless::default(),
    ))?;
    out.write_all(b"\n")
}

/// What is no finding goes to stderr.
fn say(manifests: &Manifests, report: &Report) {
    for (object, rejection) in &report.left_out {
        let file = shown::File(manifests.file(*object).unwrap_or(Path::new("")));
        let document = manifests.document(*object).unwrap_or_default();
        let text = format!("{file} document {document}: {rejection}; the object is left out");
        print::warn(&text);
    }
    let count = |severity| {
        let found = report.findings.iter();
        found.filter(|finding| finding.severity == severity).count()
    };
    let found = [
        (count(Severity::Error), "errors"),
        (count(Severity::Warning), "warnings"),
        (count(Severity::Info), "infos"),
    ];
    let words: Vec<String> = found
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| numbered(*count, what.trim_end_matches('s'), what))
        .collect();
    let found = if words.is_empty() {
        "nothing found".to_owned()
    } else {
        words.join(", ")
    };
    let objects = numbered(manifests.values().len(), "object", "objects");
    if report.policies == 0 {
        anstream::eprintln!("{found}: no policy among {objects}");
    } else {
        let policies = numbered(report.policies, "policy", "policies");
        anstream::eprintln!("{found}; looked at {policies} among {objects}");
    }
}

fn numbered(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

#[cfg(test)]
mod tests;
