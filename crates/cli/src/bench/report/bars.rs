//! The time of steps, as one bar for each model.

use super::scale::short;
use super::table::escape;
use crate::profile::OpCost;
use std::fmt::Write;

const WIDTH: f64 = 400.0;
const BAR: f64 = 22.0;
const ROW: f64 = 56.0;
/// Kinds with a colour of their own; all others are one.
const KINDS: usize = 5;

/// One bar.
pub(super) struct Bar<'b> {
    pub(super) name: String,
    pub(super) steps: &'b [OpCost],
}

impl Bar<'_> {
    fn total(&self) -> f64 {
        self.steps.iter().map(|step| step.total_ms).sum()
    }

    /// The time of each kind that has a colour, and of all others.
    fn parts(&self, kinds: &[String]) -> Vec<f64> {
        let time = |kind: &String| self.steps.iter().filter(|step| step.op == *kind).map(|step| step.total_ms).sum();
        let mut parts: Vec<f64> = kinds.iter().map(time).collect();
        parts.push((self.total() - parts.iter().sum::<f64>()).max(0.0));
        parts
    }
}

/// The kinds of steps with a colour, those first that take the largest shares.
pub(super) fn kinds(bars: &[Bar<'_>]) -> Vec<String> {
    let mut shares: Vec<(String, f64)> = Vec::new();
    for bar in bars {
        for step in bar.steps {
            match shares.iter_mut().find(|(kind, _)| *kind == step.op) {
                Some((_, share)) => *share += step.share,
                None => shares.push((step.op.clone(), step.share)),
            }
        }
    }
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.into_iter().take(KINDS).map(|(kind, _)| kind).collect()
}

/// All bars in one SVG, each as long as the plot: they show shares, and their heading the time.
pub(super) fn svg(id: &str, title: &str, bars: &[Bar<'_>], kinds: &[String]) -> String {
    let height = ROW * bars.len() as f64;
    let mut text = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\n",
        escape(title),
        escape(&description(bars))
    );
    for (row, bar) in bars.iter().enumerate() {
        let y = row as f64 * ROW;
        let heading = format!("{}: {} ms", bar.name, short(bar.total()));
        _ = writeln!(text, "<text x=\"0\" y=\"{:.1}\">{}</text>", y + 16.0, escape(&heading));
        draw(&mut text, bar, kinds, y + 22.0);
    }
    text + "</svg>\n"
}

fn draw(text: &mut String, bar: &Bar<'_>, kinds: &[String], y: f64) {
    let (total, mut x) = (bar.total().max(1e-9), 0.0);
    for (place, time) in bar.parts(kinds).into_iter().enumerate() {
        let width = time / total * WIDTH;
        if width < 0.2 {
            continue;
        }
        let kind = kinds.get(place).map_or("others", String::as_str);
        let told = format!("{}, {kind}: {} ms, {:.0} %", bar.name, short(time), time / total * 100.0);
        _ = writeln!(
            text,
            "<g class=\"s{place}\"><title>{}</title><rect class=\"part\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/></g>",
            escape(&told)
        );
        x += width;
    }
}

fn description(bars: &[Bar<'_>]) -> String {
    let mut text = String::new();
    for bar in bars {
        let steps = bar.steps.iter().take(3).map(|step| format!("{} {:.0} %", step.op, step.share * 100.0));
        let steps: Vec<String> = steps.collect();
        _ = write!(text, "{}: {}. ", bar.name, steps.join(", "));
    }
    text
}
