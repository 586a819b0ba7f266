//! Nanoseconds a packet against flows, as a picture: the director's ways and what they stand beside.

use super::report::{Line, Report, short};
use std::collections::BTreeMap;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Left, top, right, bottom.
const MARGINS: [f64; 4] = [60.0, 30.0, 150.0, 50.0];
const COLOURS: [&str; 8] = [
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f",
];

/// The picture.
pub(crate) fn svg(report: &Report) -> String {
    let mut ways: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in report.lines.iter().filter(|line| line.flows.is_some()) {
        ways.entry(&line.name).or_default().push(line);
    }
    ways.retain(|_, lines| lines.len() > 1);
    let flows = || ways.values().flatten().filter_map(|line| line.flows);
    let most_flows = f64::from(flows().max().unwrap_or(2).max(2));
    let most = ways
        .values()
        .flatten()
        .map(|line| line.median)
        .fold(100.0, f64::max);
    let step = if most > 400.0 { 100.0 } else { 50.0 };
    let top = (most / step).ceil() * step;
    let [left, above, right, below] = MARGINS;
    let x =
        |flows: u32| left + f64::from(flows).log2() / most_flows.log2() * (WIDTH - left - right);
    let y = |ns: f64| HEIGHT - below - ns / top * (HEIGHT - above - below);

    let mut out = String::new();
    let mut put = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    put(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    ));
    put(format!(
        r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#
    ));
    let mut level = 0.0;
    while level <= top {
        let (from, to, at) = (left, WIDTH - right, y(level));
        put(format!(
            r##"<path d="M{from} {at:.1}H{to}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{level}</text>"##,
            left - 6.0,
            at + 4.0
        ));
        level += step;
    }
    let mut marks: Vec<u32> = flows().collect();
    marks.sort_unstable();
    marks.dedup();
    for mark in marks {
        put(format!(
            r#"<text x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
            x(mark),
            HEIGHT - below + 18.0,
            short(mark)
        ));
    }
    put(format!(
        r#"<text x="{left}" y="18">ns a packet, median of {} rounds</text><text x="{}" y="{}" text-anchor="middle">flows, one at random after another</text>"#,
        report.rounds,
        (left + WIDTH - right) / 2.0,
        HEIGHT - 12.0
    ));
    for (index, (name, lines)) in ways.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let is_director = lines.iter().any(|line| line.beside.is_some());
        let dash = if is_director {
            ""
        } else {
            r#" stroke-dasharray="5 4""#
        };
        let points: Vec<String> = lines
            .iter()
            .filter_map(|line| Some(format!("{:.1},{:.1}", x(line.flows?), y(line.median))))
            .collect();
        let key = above + 18.0 * index as f64;
        put(format!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>"#,
            points.join(" ")
        ));
        put(format!(
            r#"<path d="M{} {key}h24" stroke="{colour}" stroke-width="2"{dash}/><text x="{}" y="{}">{name}</text>"#,
            WIDTH - right + 16.0,
            WIDTH - right + 46.0,
            key + 4.0
        ));
    }
    put("</svg>".into());
    out
}
