//! Findings for people: what is wrong and where, what it does instead of what was meant, what to write.

use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use node_agent_engine::lint::Severity;

use super::Located;
use crate::shown::{lines, text};

/// Writes all findings, with an empty line between them.
pub(super) fn write(out: &mut impl Write, findings: &[Located<'_>]) -> io::Result<()> {
    for (index, located) in findings.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        one(out, located)?;
    }
    Ok(())
}

fn one(out: &mut impl Write, located: &Located<'_>) -> io::Result<()> {
    let finding = located.finding;
    let style = style(finding.severity);
    let bold = Style::new().bold();
    let file = text(&located.file);
    match located.place {
        Some(place) => write!(out, "{file}:{}:{}: ", place.line, place.column)?,
        None => write!(out, "{file}: ")?,
    }
    writeln!(
        out,
        "{style}{} {}{style:#}: {bold}{}{bold:#}",
        finding.severity,
        finding.check,
        text(&finding.wrong)
    )?;
    let object = &finding.object;
    let slash = if object.namespace.is_empty() { "" } else { "/" };
    write!(
        out,
        "    in   {} {}{slash}{}",
        text(&object.kind),
        text(&object.namespace),
        text(&object.name)
    )?;
    if !finding.field.is_empty() {
        write!(out, ", {}", text(&finding.field))?;
    }
    writeln!(out)?;
    if !finding.effect.is_empty() {
        writeln!(out, "    so   {}", text(&finding.effect))?;
    }
    if let Some(fix) = &finding.fix {
        let fix = lines(fix).replace('\n', "\n         ");
        writeln!(out, "    fix  {fix}")?;
    }
    Ok(())
}

fn style(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Info => AnsiColor::Cyan,
    };
    colour.on_default().bold()
}
