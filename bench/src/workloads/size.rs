//! What a record takes on disk.

use crate::line_up::GROUPS;
use crate::report::Report;

/// Compares the bytes that each system of a group takes.
pub fn run(bytes: &[Vec<u64>], records: u64, report: &mut Report) {
    for (group, sizes) in GROUPS.iter().zip(bytes) {
        for (system, name) in group.others() {
            let (own, other) = (sizes[0] as f64, sizes[system] as f64);
            let about = ("size on disk", group.engine.name(), name);
            report.add(
                about,
                own / records as f64,
                "bytes/record",
                other / own,
                None,
            );
        }
    }
}
