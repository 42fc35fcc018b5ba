//! Curves as a table and as a picture.

use std::fmt::Write;

use crate::pace::number::float;

use super::arrivals::BIN_S;
use super::fleet::{Curve, Point};

/// Of a panel, in SVG units.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 70.0;
const GAP: f64 = 60.0;
const COLOURS: [&str; 3] = ["#0b6e4f", "#d98e04", "#b3261e"];
/// More points than this across a panel show nothing more.
const ACROSS: usize = 760;

/// What a panel shows: its title, and how it is read; a high value is what matters of a few points.
type Panel = (&'static str, fn(&Point) -> f64);

const PANELS: [Panel; 3] = [
    ("arrivals at the cluster, times a usual day's", |point| {
        point.arrivals
    }),
    ("an alarm waits in the cluster's queue, seconds", |point| {
        point.alarm_s
    }),
    ("gateways that have not caught up", |point| {
        f64::from(point.behind)
    }),
];

/// A line for each point of each curve.
pub(super) fn csv(curves: &[(&str, Curve)]) -> String {
    let mut text =
        "policy,seconds_after_return,arrivals_over_steady,alarm_wait_s,gateways_behind\n"
            .to_owned();
    for (name, curve) in curves {
        for (second, point) in (1..).map(|n| n * BIN_S).zip(&curve.points) {
            let (arrivals, alarm_s) = (point.arrivals, point.alarm_s);
            let behind = point.behind;
            let line = format!("\"{name}\",{second},{arrivals:.3},{alarm_s:.3},{behind}\n");
            text.push_str(&line);
        }
    }
    text
}

/// Three panels over the hours after the return.
pub(super) fn svg(curves: &[(&str, Curve)]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if draw(curves, &mut text).is_err() {
        text.clear();
    }
    text
}

fn draw(curves: &[(&str, Curve)], text: &mut String) -> std::fmt::Result {
    let lengths = curves.iter().map(|(_, curve)| curve.points.len());
    let longest = lengths.max().unwrap_or(1).max(1);
    let (width, height) = (LEFT + WIDTH + 20.0, 50.0 + 3.0 * (HEIGHT + GAP));
    writeln!(
        text,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>"#
    )?;
    for (index, (name, _)) in curves.iter().enumerate() {
        let x = [0.0, 150.0, 300.0].get(index).copied().unwrap_or(0.0) + LEFT;
        let colour = COLOURS[index % COLOURS.len()];
        writeln!(
            text,
            r#"<text x="{x}" y="20" fill="{colour}" font-weight="bold">{name}</text>"#
        )?;
    }
    for (row, (title, read)) in (0_u8..).zip(PANELS) {
        let top = 50.0 + f64::from(row) * (HEIGHT + GAP);
        panel(curves, (title, read), top, longest, text)?;
    }
    writeln!(text, "</svg>")
}

fn panel(
    curves: &[(&str, Curve)],
    (title, read): Panel,
    top: f64,
    longest: usize,
    text: &mut String,
) -> std::fmt::Result {
    let values = curves.iter().flat_map(|(_, curve)| curve.points.iter());
    let most = values.map(read).fold(1e-9, f64::max);
    let bottom = top + HEIGHT;
    writeln!(
        text,
        r##"<text x="{LEFT}" y="{}">{title}</text><rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>"##,
        top - 6.0
    )?;
    for part in [0.0, 0.5, 1.0] {
        writeln!(
            text,
            r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            bottom - part * HEIGHT + 4.0,
            label(most * part)
        )?;
        let hours = float(longest as u64) * f64::from(BIN_S) / 3600.0 * part;
        writeln!(
            text,
            r#"<text x="{}" y="{}" text-anchor="middle">{hours:.1} h</text>"#,
            LEFT + part * WIDTH,
            bottom + 16.0
        )?;
    }
    for (index, (_, curve)) in curves.iter().enumerate() {
        write!(
            text,
            r#"<polyline fill="none" stroke="{}" points=""#,
            COLOURS[index % COLOURS.len()]
        )?;
        let step = longest.div_ceil(ACROSS);
        for (number, few) in curve.points.chunks(step).enumerate() {
            let value = few.iter().map(read).fold(0.0, f64::max);
            let x = LEFT + float((number * step) as u64) / float(longest as u64) * WIDTH;
            write!(text, "{x:.1},{:.1} ", bottom - value / most * HEIGHT)?;
        }
        writeln!(text, r#""/>"#)?;
    }
    Ok(())
}

fn label(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
