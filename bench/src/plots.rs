//! The plots of a report.

use std::path::Path;

use crate::report::{Report, Row, Target};
use crate::svg;
use crate::workloads::growth::Growth;

/// What is drawn as bars: the workload, the file, and the title.
const BARS: [(&str, &str, &str); 4] = [
    ("ingest, not synced", "ingest.svg", "Ingest, not synced"),
    (
        "newest 100 events",
        "newest.svg",
        "The newest 100 events of a subscription, with their publications",
    ),
    (
        "latest session",
        "session.svg",
        "The latest session with an ID",
    ),
    (
        "scan of all publications",
        "scan.svg",
        "A walk over all publications",
    ),
];

/// Draws what the report has, each plot in a file of its own.
pub fn draw(directory: &Path, report: &Report, grown: &[Growth]) -> svg::Result {
    for (workload, file, title) in BARS {
        let rows = || report.rows().iter().filter(|row| row.workload == workload);
        if let Some(first) = rows().next() {
            svg::bars(
                &directory.join(file),
                title,
                first.unit,
                &throughput(rows()),
            )?;
        }
    }
    let beside_raw: Vec<_> = report
        .rows()
        .iter()
        .filter(|row| row.versus.starts_with("raw"))
        .filter_map(|row| match row.target {
            Some(Target::AtLeast(target)) => {
                let name = format!("{}, {}", row.engine, row.workload);
                Some((name, row.ratio, Some(target)))
            }
            _ => None,
        })
        .collect();
    if !beside_raw.is_empty() {
        let title = "realmstore beside the engine without it";
        svg::ratios(&directory.join("raw.svg"), title, &beside_raw)?;
    }
    if !grown.is_empty() {
        let title = "Answers as a store grows";
        svg::growth(
            &directory.join("growth.svg"),
            title,
            "µs for an answer",
            "events stored",
            grown,
        )?;
    }
    Ok(())
}

/// What each system reached, the fastest first.
fn throughput<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<(String, f64)> {
    let mut bars: Vec<(String, f64)> = Vec::new();
    for row in rows.filter(|row| !row.engine.starts_with("best") && row.versus != "cfxdb") {
        let own = (format!("realmstore on {}", row.engine), row.value);
        for bar in [own, (row.versus.clone(), row.value / row.ratio)] {
            if !bars.iter().any(|(name, _)| *name == bar.0) {
                bars.push(bar);
            }
        }
    }
    bars.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    bars
}
