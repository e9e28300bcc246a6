//! Plots as SVG, for the documents about the benchmark.
//!
//! They are drawn in pixels, not with the charts of `plotters`: without font
//! files those only guess how wide a text is, and place legends by that. Here
//! texts are anchored, so that whoever shows the plot places them, and columns are
//! made wide enough for a wide font.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;
type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: i32 = 800;
const MARGIN: i32 = 16;
/// Where the part below the title begins.
const TOP: i32 = 64;
/// What is left below an axis for its numbers and its description.
const BOTTOM: i32 = 56;
const ROW: i32 = 30;
/// A column of numbers like 10,000,000.
const NUMBERS: i32 = 96;

/// The backend divides sizes by 1.24: these are 12.5 and 17.5 pixels.
const TEXT_SIZE: f64 = 15.5;
const TITLE_SIZE: f64 = 21.7;

const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT_INK: RGBColor = RGBColor(89, 99, 110);
const GRID: RGBColor = RGBColor(216, 222, 228);
const OURS: RGBColor = RGBColor(9, 105, 218);
const OTHERS: RGBColor = RGBColor(140, 149, 159);
const TARGET: RGBColor = RGBColor(207, 71, 0);

/// Colours of lines that people with colour blindness tell apart too (Okabe and
/// Ito, without the yellow, which is hard to see on white).
const LINES: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(87, 96, 106),
];

/// Draws a bar for each system, with its value.
pub fn bars(path: &Path, title: &str, unit: &str, bars: &[(String, f64)]) -> Result {
    let left = names_width(bars.iter().map(|(name, _)| name)) + MARGIN;
    let right = WIDTH - NUMBERS;
    let bottom = TOP + ROW * bars.len() as i32;
    let canvas = canvas(path, title, bottom + BOTTOM)?;

    let max = bars
        .iter()
        .map(|(_, value)| *value)
        .filter(|value| usable(*value))
        .reduce(f64::max)
        .unwrap_or(1.0);
    let step = ladder(max / 5.0, max / 5.0).last().copied().unwrap_or(max);
    let ticks: Vec<f64> = (0..=(max / step).ceil() as u32)
        .map(|tick| step * f64::from(tick))
        .collect();
    let end = ticks.last().copied().unwrap_or(max);
    let axis = RangedCoordf64::from(0.0..end);
    for tick in ticks {
        column(
            &canvas,
            axis.map(&tick, (left, right)),
            bottom,
            &short(tick),
        )?;
    }
    label(
        &canvas,
        unit,
        ((left + right) / 2, bottom + 40),
        HPos::Center,
        FAINT_INK,
    )?;

    for (row, (name, value)) in bars.iter().enumerate() {
        let middle = TOP + ROW * row as i32 + ROW / 2;
        let length = if usable(*value) { *value } else { 0.0 };
        let x = axis.map(&length, (left, right));
        label(&canvas, name, (left - 10, middle), HPos::Right, INK)?;
        bar(&canvas, (left, x), middle, color(name))?;
        let text = number(*value);
        let end = x + 8 + 8 * text.len() as i32;
        // Else the grid would run through the number.
        let behind = [(x + 1, middle - 9), (end, middle + 9)];
        canvas.draw(&Rectangle::new(behind, WHITE.filled()))?;
        label(&canvas, &text, (x + 6, middle), HPos::Left, INK)?;
    }
    column_line(&canvas, left, bottom, OTHERS)?;
    Ok(canvas.present()?)
}

/// Draws how far each ratio is from 1, and where its target is.
pub fn ratios(path: &Path, title: &str, rows: &[(String, f64, Option<f64>)]) -> Result {
    let left = names_width(rows.iter().map(|(name, ..)| name)) + MARGIN;
    let right = WIDTH - MARGIN - 2 * NUMBERS;
    let bottom = TOP + ROW * rows.len() as i32;
    let canvas = canvas(path, title, bottom + BOTTOM - 20)?;
    let times = |value: f64| format!("{}\u{d7}", number(value));

    let values = rows
        .iter()
        .flat_map(|(_, ratio, target)| [Some(*ratio), *target])
        .flatten();
    let (range, ticks) = log_ticks(values.chain([1.0]), 7);
    let axis = LogCoord::from(range.log_scale());
    for tick in ticks {
        column(
            &canvas,
            axis.map(&tick, (left, right)),
            bottom,
            &format!("{}\u{d7}", short(tick)),
        )?;
    }

    let (ratios_end, targets_end) = (WIDTH - MARGIN - NUMBERS, WIDTH - MARGIN);
    label(
        &canvas,
        "ratio",
        (ratios_end, TOP - 12),
        HPos::Right,
        FAINT_INK,
    )?;
    if rows.iter().any(|(.., target)| target.is_some()) {
        label(
            &canvas,
            "target",
            (targets_end, TOP - 12),
            HPos::Right,
            TARGET,
        )?;
    }
    let one = axis.map(&1.0, (left, right));
    column_line(&canvas, one, bottom, INK)?;
    for (row, (name, ratio, target)) in rows.iter().enumerate() {
        let middle = TOP + ROW * row as i32 + ROW / 2;
        label(&canvas, name, (left - 10, middle), HPos::Right, INK)?;
        if usable(*ratio) {
            let x = axis.map(ratio, (left, right));
            bar(&canvas, (one.min(x), one.max(x)), middle, OURS)?;
        }
        label(
            &canvas,
            &times(*ratio),
            (ratios_end, middle),
            HPos::Right,
            INK,
        )?;
        if let Some(target) = target.filter(|target| usable(*target)) {
            let x = axis.map(&target, (left, right));
            canvas.draw(&Rectangle::new(
                [(x - 2, middle - 13), (x + 2, middle + 13)],
                TARGET.filled(),
            ))?;
            label(
                &canvas,
                &times(target),
                (targets_end, middle),
                HPos::Right,
                TARGET,
            )?;
        }
    }
    Ok(canvas.present()?)
}

/// Draws a line for each series of points, on two logarithmic axes. The legend
/// lists the series as their lines end, from above.
pub fn growth(
    path: &Path,
    title: &str,
    unit: &str,
    x_label: &str,
    series: &[(String, Vec<(f64, f64)>)],
) -> Result {
    let (left, bottom) = (MARGIN + 50, TOP + 340);
    let legend = WIDTH - names_width(series.iter().map(|(name, _)| name)) - 20;
    let right = legend - MARGIN;
    let canvas = canvas(path, title, bottom + BOTTOM)?;

    let series: Vec<(&str, Vec<(f64, f64)>)> = series
        .iter()
        .map(|(name, points)| {
            let points = points.iter().copied();
            let points = points.filter(|(x, y)| usable(*x) && usable(*y));
            (&**name, points.collect())
        })
        .collect();
    let points = || series.iter().flat_map(|(_, points)| points);
    let (x_range, x_ticks) = log_ticks(points().map(|(x, _)| *x), 6);
    let (y_range, y_ticks) = log_ticks(points().map(|(_, y)| *y), 9);
    let (x_axis, y_axis) = (
        LogCoord::from(x_range.log_scale()),
        LogCoord::from(y_range.log_scale()),
    );
    let place = |(x, y): &(f64, f64)| (x_axis.map(x, (left, right)), y_axis.map(y, (bottom, TOP)));
    for tick in x_ticks {
        column(
            &canvas,
            x_axis.map(&tick, (left, right)),
            bottom,
            &short(tick),
        )?;
    }
    for tick in y_ticks {
        let y = y_axis.map(&tick, (bottom, TOP));
        canvas.draw(&PathElement::new([(left, y), (right, y)], GRID))?;
        label(&canvas, &short(tick), (left - 8, y), HPos::Right, FAINT_INK)?;
    }
    label(&canvas, unit, (MARGIN, TOP - 14), HPos::Left, FAINT_INK)?;
    label(
        &canvas,
        x_label,
        ((left + right) / 2, bottom + 40),
        HPos::Center,
        FAINT_INK,
    )?;
    canvas.draw(&PathElement::new(
        [(left, TOP), (left, bottom), (right, bottom)],
        OTHERS,
    ))?;

    let mut ends = Vec::new();
    for (index, (name, points)) in series.iter().enumerate() {
        let points: Vec<_> = points.iter().map(place).collect();
        ends.push((points.last().map_or(bottom, |(_, y)| *y), index, name));
        for point in &points {
            mark(&canvas, *point, index)?;
        }
        line(&canvas, points, index, name)?;
    }
    ends.sort_unstable();
    for (row, (_, index, name)) in ends.into_iter().enumerate() {
        let y = TOP + 10 + 24 * row as i32;
        line(&canvas, vec![(legend, y), (legend + 24, y)], index, name)?;
        mark(&canvas, (legend + 12, y), index)?;
        label(&canvas, name, (legend + 30, y), HPos::Left, INK)?;
    }
    Ok(canvas.present()?)
}

fn canvas<'a>(path: &'a Path, title: &str, height: i32) -> Result<Canvas<'a>> {
    let canvas = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    canvas.fill(&WHITE)?;
    let font = ("sans-serif", TITLE_SIZE)
        .into_font()
        .style(FontStyle::Bold);
    let style = font.color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    canvas.draw_text(title, &style, (MARGIN, 24))?;
    Ok(canvas)
}

fn label(canvas: &Canvas, text: &str, at: (i32, i32), anchor: HPos, color: RGBColor) -> Result {
    let style = ("sans-serif", TEXT_SIZE)
        .into_font()
        .color(&color)
        .pos(Pos::new(anchor, VPos::Center));
    Ok(canvas.draw_text(text, &style, at)?)
}

/// A line of the grid from the top to the axis at the bottom, with its number.
fn column(canvas: &Canvas, x: i32, bottom: i32, text: &str) -> Result {
    column_line(canvas, x, bottom, GRID)?;
    label(canvas, text, (x, bottom + 16), HPos::Center, FAINT_INK)
}

fn column_line(canvas: &Canvas, x: i32, bottom: i32, color: RGBColor) -> Result {
    Ok(canvas.draw(&PathElement::new([(x, TOP), (x, bottom)], color))?)
}

fn bar(canvas: &Canvas, (from, to): (i32, i32), middle: i32, color: RGBColor) -> Result {
    Ok(canvas.draw(&Rectangle::new(
        [(from, middle - 9), (to, middle + 9)],
        color.filled(),
    ))?)
}

/// Our own lines are thicker.
fn line(canvas: &Canvas, points: Vec<(i32, i32)>, index: usize, name: &str) -> Result {
    let width = if is_ours(name) { 3 } else { 1 };
    let style = LINES[index % LINES.len()].stroke_width(width);
    Ok(canvas.draw(&PathElement::new(points, style))?)
}

/// Marks differ as colours do, for those who print the plot.
fn mark(canvas: &Canvas, (x, y): (i32, i32), index: usize) -> Result {
    let style = LINES[index % LINES.len()].filled();
    let corners: &[(i32, i32)] = match index % 4 {
        0 => return Ok(canvas.draw(&Circle::new((x, y), 4, style))?),
        1 => &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
        2 => &[(-5, 4), (0, -5), (5, 4)],
        _ => &[(-5, 0), (0, -5), (5, 0), (0, 5)],
    };
    let corners: Vec<_> = corners
        .iter()
        .map(|(right, down)| (x + right, y + down))
        .collect();
    Ok(canvas.draw(&Polygon::new(corners, style))?)
}

fn is_ours(name: &str) -> bool {
    name.starts_with("realmstore")
}

fn color(name: &str) -> RGBColor {
    if is_ours(name) { OURS } else { OTHERS }
}

/// Room for the longest of the names, with some to spare.
fn names_width<'a>(names: impl Iterator<Item = &'a String>) -> i32 {
    let longest = names.map(|name| name.chars().count()).max().unwrap_or(0);
    longest as i32 * 15 / 2 + 20
}

/// Whether a value has a place on a logarithmic axis.
fn usable(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// 1, 2 and 5 times powers of ten, from the last that is not above `min` to the
/// first that is not below `max`.
fn ladder(min: f64, max: f64) -> Vec<f64> {
    let powers = min.log10().floor() as i32..=max.log10().ceil() as i32;
    let all: Vec<f64> = powers
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
        .collect();
    let first = all.iter().rposition(|step| *step <= min).unwrap_or(0);
    let last = all
        .iter()
        .position(|step| *step >= max)
        .unwrap_or(all.len() - 1);
    all[first..=last].to_vec()
}

/// The range of a logarithmic axis with some room on both sides, and no more
/// than about `most` numbers to be written at it.
fn log_ticks(values: impl Iterator<Item = f64>, most: usize) -> (Range<f64>, Vec<f64>) {
    let (min, max) = values
        .filter(|value| usable(*value))
        .map(|value| (value, value))
        .reduce(|(min, max), (value, _)| (min.min(value), max.max(value)))
        .unwrap_or((1.0, 1.0));
    let mut ticks = ladder(min * 0.8, max * 1.25);
    let range = ticks[0]..ticks[ticks.len() - 1];
    if ticks.len() > most {
        let every = (ticks.len() / 3).div_ceil(most) as f64;
        // Those whose power of ten is a multiple of `every`, 1 among them.
        ticks.retain(|tick| {
            let power = tick.log10() / every;
            (power - power.round()).abs() < 1e-6
        });
    }
    (range, ticks)
}

/// A number of three digits that count, as in 0.00123, 12.3 and 1,230,000.
fn number(value: f64) -> String {
    let rounded = format!("{value:.2e}").parse().unwrap_or(value);
    let text = rounded.to_string();
    let (whole, fraction) = text
        .find('.')
        .map_or((&*text, ""), |point| text.split_at(point));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && rounded.is_finite() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

/// A round number as short as it goes, for an axis.
fn short(value: f64) -> String {
    let (factor, suffix) = match value {
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e3.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    number(value / factor) + suffix
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a failure fails the test")]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = [
        "realmstore on RocksDB",
        "SQLite, one table per type",
        "redb",
    ];

    /// Draws twice, and looks for the names in what was written.
    fn check(draw: impl Fn(&Path) -> Result) {
        let directory = tempfile::tempdir().expect("a directory");
        let written = ["first.svg", "second.svg"].map(|name| {
            let path = directory.path().join(name);
            draw(&path).expect("a plot");
            std::fs::read_to_string(path).expect("the plot")
        });
        assert_eq!(written[0], written[1]);
        for text in NAMES.iter().chain(&["The title", "</svg>"]) {
            assert!(written[0].contains(text), "{text}");
        }
    }

    #[test]
    fn bars_have_names() {
        let rows = NAMES
            .map(String::from)
            .into_iter()
            .zip([1_234_567.0, 0.001, 0.0])
            .collect::<Vec<_>>();
        check(|path| bars(path, "The title", "events per second", &rows));
    }

    #[test]
    fn ratios_have_names() {
        let [first, second, third] = NAMES.map(String::from);
        let rows = [
            (first, 0.001, None),
            (second, 1e7, Some(2.0)),
            (third, f64::NAN, Some(0.0)),
        ];
        check(|path| ratios(path, "The title", &rows));
    }

    #[test]
    fn lines_have_names() {
        let points = [vec![(1e4, 3.5), (1e7, 800.0)], vec![(1e5, 0.0)], Vec::new()];
        let series: Vec<_> = NAMES.map(String::from).into_iter().zip(points).collect();
        check(|path| growth(path, "The title", "\u{b5}s", "events stored", &series));
    }

    #[test]
    fn nothing_to_draw_is_no_failure() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("empty.svg");
        bars(&path, "", "", &[]).expect("no bars");
        ratios(&path, "", &[]).expect("no ratios");
        growth(&path, "", "", "", &[]).expect("no lines");
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [
            0.0,
            0.001,
            0.012_345,
            1.0,
            9.999,
            45.67,
            999.9,
            1_234.0,
            123_456.0,
            10_000_000.0,
        ];
        let texts = numbers.map(number);
        let expected = [
            "0",
            "0.001",
            "0.0123",
            "1",
            "10",
            "45.7",
            "1,000",
            "1,230",
            "123,000",
            "10,000,000",
        ];
        assert_eq!(texts, expected.map(String::from));
        assert_eq!(
            [0.005, 20.0, 5e3, 2e5, 1e7].map(short),
            ["0.005", "20", "5k", "200k", "10M"].map(String::from)
        );
    }

    #[test]
    fn a_ladder_has_round_steps() {
        assert_eq!(ladder(0.9, 21.0), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(ladder(2.0, 2.0), [2.0]);
        let (range, ticks) = log_ticks([0.001, 1e7].into_iter(), 6);
        assert_eq!((range, ticks.len()), (5e-4..2e7, 5));
    }
}
