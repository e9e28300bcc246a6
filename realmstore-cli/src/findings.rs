//! What checks of a store find, as lines.

use realmstore_core::store::{Finding, Severity};

use crate::Outcome;
use crate::failure::Result;
use crate::json::Object;
use crate::output::{Output, to_stderr};
use crate::table::grouped;

/// The findings of one or more checks, printed as they come.
pub(crate) struct Findings<'o> {
    output: &'o mut Output,
    json: bool,
    errors: u64,
    warnings: u64,
    remarks: u64,
    rows: u64,
}

impl<'o> Findings<'o> {
    /// Findings that are printed as `json` says.
    pub(crate) fn new(output: &'o mut Output, json: bool) -> Self {
        Self {
            output,
            json,
            errors: 0,
            warnings: 0,
            remarks: 0,
            rows: 0,
        }
    }

    /// Prints a finding.
    pub(crate) fn add(&mut self, finding: &Finding) -> Result<()> {
        *match finding.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
            Severity::Remark => &mut self.remarks,
        } += 1;
        let Finding {
            severity,
            table,
            key,
            problem,
        } = finding;
        if self.json {
            let mut object = Object::new();
            object.insert("severity".to_owned(), severity.name().into());
            object.insert("table".to_owned(), (*table).into());
            object.insert("key".to_owned(), key.as_str().into());
            object.insert("problem".to_owned(), problem.as_str().into());
            return self.output.json(&object);
        }
        self.output.line(format_args!(
            "{:<8} {}: {problem}",
            severity.name(),
            place(table, key)
        ))
    }

    /// Whether any is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Takes note of how many rows were looked at.
    pub(crate) fn add_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Sums up.
    pub(crate) fn finish(self) -> Result<Outcome> {
        let summary = format!(
            "{} rows verified: {} errors, {} warnings, {} remarks",
            grouped(self.rows),
            grouped(self.errors),
            grouped(self.warnings),
            grouped(self.remarks)
        );
        if self.json {
            to_stderr(format_args!("realmstore: {summary}\n"));
        } else {
            self.output.line(summary)?;
        }
        Ok(if self.has_errors() {
            Outcome::Found
        } else {
            Outcome::Done
        })
    }
}

/// A table, and a row of it where there is one.
pub(crate) fn place(table: &str, key: &str) -> String {
    if key.is_empty() {
        table.to_owned()
    } else {
        format!("{table} {key}")
    }
}
