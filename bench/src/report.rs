//! What was measured, as a table for people and as JSON for programs.

use std::error::Error;
use std::fmt;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Serialize, Serializer};

/// One measurement of realmstore, beside something else.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub workload: String,
    /// The engine under realmstore.
    pub engine: String,
    /// What it is compared with.
    pub versus: String,
    /// What realmstore reached.
    pub value: f64,
    pub unit: &'static str,
    /// How many times as good as the other: more is better. In the rows about
    /// growth and memory, which have an upper bound, less is.
    pub ratio: f64,
    pub target: Option<Target>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All that was measured in one run.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

/// What a row is about: workload, engine, and what it is compared with.
pub type About<'a> = (&'a str, &'a str, &'a str);

impl Report {
    pub fn add(
        &mut self,
        (workload, engine, versus): About<'_>,
        value: f64,
        unit: &'static str,
        ratio: f64,
        target: Option<Target>,
    ) {
        self.rows.push(Row {
            workload: workload.to_owned(),
            engine: engine.to_owned(),
            versus: versus.to_owned(),
            value,
            unit,
            ratio,
            target,
            met: target.map(|target| target.is_met(ratio)),
        });
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "workload", "engine", "value", "unit", "versus", "ratio", "target", "met",
        ]);
        for row in &self.rows {
            let met = match row.met {
                None => "",
                Some(true) => "yes",
                Some(false) => "no",
            };
            let target = row
                .target
                .map_or_else(String::new, |target| target.to_string());
            let (value, ratio) = (number(row.value), number(row.ratio));
            table.add_row([
                &row.workload,
                &row.engine,
                &value,
                row.unit,
                &row.versus,
                &ratio,
                &target,
                met,
            ]);
        }
        for column in [2, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        #[allow(clippy::print_stdout, reason = "it is what the program is for")]
        {
            println!("{table}");
        }
    }

    pub fn write_json(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        std::fs::write(path, serde_json::to_string_pretty(&self.rows)?)?;
        Ok(())
    }

    /// The rows whose ratio is no number: something was not measured.
    pub fn without_number(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(|row| !row.ratio.is_finite() || !row.value.is_finite())
    }
}

/// Three digits that count, and thousands apart.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        0.1.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left.is_multiple_of(3) && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match rest {
        Some(rest) => format!("{grouped}.{rest}"),
        None => grouped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_are_worth() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.987), "0.99");
        assert_eq!(number(0.0123), "0.012");
    }

    #[test]
    fn a_ratio_that_is_no_number_is_told() {
        let mut report = Report::default();
        report.add(
            ("a", "LMDB", "raw LMDB"),
            1.0,
            "ms",
            0.95,
            Some(Target::AtLeast(0.9)),
        );
        report.add(
            ("b", "LMDB", "raw LMDB"),
            1.0,
            "ms",
            f64::NAN,
            Some(Target::AtLeast(0.9)),
        );
        let missing: Vec<_> = report
            .without_number()
            .map(|row| row.workload.as_str())
            .collect();
        assert_eq!(missing, ["b"]);
        assert_eq!(report.rows()[0].met, Some(true));
        assert_eq!(report.rows()[1].met, Some(false));
    }
}
