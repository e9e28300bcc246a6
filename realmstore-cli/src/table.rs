//! Lists of things, as a table for people or as JSON for programs.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

use crate::failure::Result;
use crate::json::Object;
use crate::output::{Output, to_stderr};

/// How many rows are laid out together. More are never held in memory.
const BATCH: usize = 1000;

/// How many characters of an excerpt are shown where there is no terminal to fit it into.
const LONGEST_EXCERPT: usize = 72;

/// How many characters of an excerpt are shown however narrow the terminal is.
const SHORTEST_EXCERPT: usize = 6;

/// The blanks between columns.
const GAP: u16 = 2;

/// A column of a table.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Id,
    Time,
    Text,
    Excerpt,
}

/// A column of numbers, which are never broken into lines.
pub(crate) const fn numbers(title: &'static str) -> Column {
    Column {
        title,
        kind: Kind::Number,
    }
}

/// A column of IDs that are no numbers, which are never broken either.
pub(crate) const fn ids(title: &'static str) -> Column {
    Column {
        title,
        kind: Kind::Id,
    }
}

/// A column of times, with date and time of day one below the other where there is no room.
pub(crate) const fn times(title: &'static str) -> Column {
    Column {
        title,
        kind: Kind::Time,
    }
}

/// A column of texts that are shown whole.
pub(crate) const fn texts(title: &'static str) -> Column {
    Column {
        title,
        kind: Kind::Text,
    }
}

/// A column of texts of any length, shown as far as there is room.
pub(crate) const fn excerpts(title: &'static str) -> Column {
    Column {
        title,
        kind: Kind::Excerpt,
    }
}

/// A list in the making: each row is printed as a line of JSON, or in a table.
pub(crate) struct List<'o> {
    output: &'o mut Output,
    json: bool,
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
    widths: Vec<u16>,
    any: bool,
}

impl<'o> List<'o> {
    /// A list that is printed as `json` says.
    pub(crate) fn new(output: &'o mut Output, json: bool, columns: &'static [Column]) -> Self {
        Self {
            output,
            json,
            columns,
            rows: Vec::new(),
            widths: Vec::new(),
            any: false,
        }
    }

    /// Whether it is printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Adds a row, in the form that is asked for.
    pub(crate) fn add(
        &mut self,
        json: impl FnOnce() -> Object,
        cells: impl FnOnce() -> Vec<String>,
    ) -> Result<()> {
        if self.json {
            return self.output.json(&json());
        }
        self.rows.push(cells());
        if self.rows.len() < BATCH {
            Ok(())
        } else {
            self.print_rows()
        }
    }

    /// Prints what is still held back; and when the table has no rows at all, that there are no `things`.
    pub(crate) fn finish(mut self, things: &str) -> Result<()> {
        if !self.rows.is_empty() {
            self.print_rows()?;
        }
        if !self.any && !self.json {
            to_stderr(format_args!("realmstore: no {things}\n"));
        }
        Ok(())
    }

    fn print_rows(&mut self) -> Result<()> {
        let terminal = if self.output.is_terminal() {
            Table::new().width()
        } else {
            None
        };
        let mut rows = std::mem::take(&mut self.rows);
        self.cut_excerpts(&mut rows, terminal);
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if !self.any {
            table.set_header(self.columns.iter().map(|column| column.title));
        }
        table.add_rows(
            rows.into_iter()
                .map(|row| row.into_iter().map(Cell::new_owned)),
        );
        let mut widths = table.column_max_content_widths();
        if terminal.is_none() {
            // Rows further down stand under those above them.
            widths
                .iter_mut()
                .zip(&self.widths)
                .for_each(|(width, &above)| *width = above.max(*width));
        }
        for (number, (column, settings)) in
            self.columns.iter().zip(table.column_iter_mut()).enumerate()
        {
            let gap = if number + 1 < self.columns.len() {
                GAP
            } else {
                0
            };
            settings.set_padding((0, gap));
            match column.kind {
                Kind::Number => settings.set_cell_alignment(CellAlignment::Right),
                Kind::Time => drop(settings.set_delimiter('T')),
                Kind::Id | Kind::Text | Kind::Excerpt => {}
            }
            let width = widths.get(number).map_or(gap, |width| width + gap);
            if terminal.is_none() || matches!(column.kind, Kind::Number | Kind::Id) {
                settings.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
            }
        }
        self.widths = widths;
        self.any = true;
        self.output.line(table.trim_fmt())
    }

    /// Shortens excerpts to the room that the other columns leave.
    fn cut_excerpts(&self, rows: &mut [Vec<String>], terminal: Option<u16>) {
        let mut taken = 0;
        for (number, column) in self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.kind != Kind::Excerpt)
        {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(number))
                .map(|cell| cell.chars().count());
            taken += cells.max().unwrap_or(0).max(column.title.len()) + usize::from(GAP);
        }
        let room = match terminal {
            Some(width) => usize::from(width)
                .saturating_sub(taken)
                .max(SHORTEST_EXCERPT),
            None => LONGEST_EXCERPT,
        };
        for (number, _) in self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.kind == Kind::Excerpt)
        {
            rows.iter_mut()
                .filter_map(|row| row.get_mut(number))
                .for_each(|cell| shorten(cell, room));
        }
    }
}

/// A text as far as a line has room for it.
pub(crate) fn excerpt(mut text: String) -> String {
    shorten(&mut text, LONGEST_EXCERPT);
    text
}

/// Cuts a text that has more than so many characters, and shows that it did.
fn shorten(text: &mut String, room: usize) {
    if text.chars().count() <= room {
        return;
    }
    if let Some((end, _)) = text.char_indices().nth(room.saturating_sub(1)) {
        text.truncate(end);
        text.push('…');
    }
}

/// A text that somebody else chose, safe to print on a terminal.
pub(crate) fn text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// A value that may be unset.
pub(crate) fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| text(&value.to_string()))
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A span of time, in nanoseconds, in the largest unit of which it is a whole number.
pub(crate) fn duration(nanos: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1, "ns"),
    ];
    let fits = |(length, _): &&(u64, &str)| nanos >= *length && nanos.is_multiple_of(*length);
    match UNITS.iter().find(fits) {
        Some((length, unit)) => format!("{} {unit}", grouped(nanos / length)),
        None => "0 s".to_owned(),
    }
}

/// A number of bytes in the unit that suits it.
pub(crate) fn bytes(number: u64) -> String {
    let (mut amount, mut unit) = (number as f64, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    if unit == "bytes" {
        format!("{number} bytes")
    } else {
        format!("{amount:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(text("a\x1b[31m\nb\u{9b}ü"), "a\\u{1b}[31m\\nb\\u{9b}ü");
    }

    #[test]
    fn an_excerpt_ends_with_an_ellipsis_only_when_there_is_more() {
        for (whole, shown) in [
            ("", ""),
            ("größe", "größe"),
            ("größer", "größ…"),
            ("größe und mehr", "größ…"),
        ] {
            let mut text = whole.to_owned();
            shorten(&mut text, 5);
            assert_eq!(text, shown);
        }
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (number, text) in [
            (0u64, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_duration_comes_in_the_largest_unit_that_says_all_of_it() {
        for (nanos, text) in [
            (0, "0 s"),
            (1, "1 ns"),
            (1_500_000_000, "1,500 ms"),
            (90_000_000_000, "90 s"),
            (7 * 86_400_000_000_000, "7 d"),
        ] {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn bytes_come_in_the_unit_that_suits_them() {
        for (number, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (1 << 40, "1.0 TiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
