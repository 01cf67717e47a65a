//! How an error is told: what, where, why and what to do. Plain lines, whatever the terminal is.
//!
//! Miette's own reports are handsome, but bring Unicode tables along that a service does not have; without them a new
//! service shares everything that was compiled for this program.

use std::error::Error;
use std::fmt;

use miette::{Diagnostic, LabeledSpan, ReportHandler, SourceCode};

/// Tells errors in plain lines.
struct Plain;

/// From now on reports are told like this.
pub(crate) fn install() {
    // refused only where another handler is installed already, and that one will do
    let _ = miette::set_hook(Box::new(|_| Box::new(Plain)));
}

impl ReportHandler for Plain {
    fn debug(&self, error: &dyn Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {error}")?;
        if let (Some(source), Some(labels)) = (error.source_code(), error.labels()) {
            for label in labels {
                mark(source, &label, f)?;
            }
        }
        let mut next = error.source();
        while let Some(cause) = next {
            writeln!(f, "  because: {cause}")?;
            next = Error::source(cause);
        }
        match error.help() {
            Some(help) => write!(f, "  help: {help}"),
            None => Ok(()),
        }
    }
}

/// The line that is wrong, with a mark below the place and why.
fn mark(source: &dyn SourceCode, label: &LabeledSpan, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // without a line of context there would be nothing but the place itself
    let Ok(found) = source.read_span(label.inner(), 1, 1) else { return Ok(()) };
    let start = label.offset() - found.span().offset();
    let letters = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).chars().count();
    let before = letters(found.data().get(..start));
    let marked = letters(found.data().get(start..start + label.len())).max(1);
    writeln!(f, "    {}", String::from_utf8_lossy(found.data()).trim_end())?;
    writeln!(f, "    {}{} {}", " ".repeat(before), "^".repeat(marked), label.label().unwrap_or_default())
}
