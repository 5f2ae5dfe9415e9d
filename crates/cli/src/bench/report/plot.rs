//! Plots of a figure over the batch size, as SVG that the page colours.

use super::scale::{Scale, short};
use super::table::escape;
use std::fmt::Write;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 42.0;

/// One curve.
pub(super) struct Series {
    pub(super) name: String,
    /// Its colour and mark.
    pub(super) style: usize,
    /// Its points, by batch size.
    pub(super) points: Vec<Dot>,
}

/// One point, with the interval of its median.
pub(super) struct Dot {
    pub(super) batch: usize,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A figure over the batch size.
pub(super) struct Plot<'p> {
    /// Names the elements of the plot in the page.
    pub(super) id: &'p str,
    pub(super) title: &'p str,
    /// The figure and its unit.
    pub(super) axis: &'p str,
    pub(super) is_log: bool,
    pub(super) series: Vec<Series>,
}

impl Plot<'_> {
    /// The SVG, for the inside of an HTML page.
    pub(super) fn svg(&self) -> String {
        let batches = self.batches();
        let values = || self.series.iter().flat_map(|series| &series.points).flat_map(|dot| [dot.low, dot.high]);
        let scale = if self.is_log { Scale::log(values()) } else { Scale::linear(values()) };
        let (id, title) = (self.id, escape(self.title));
        let mut text = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{}</desc>\n",
            escape(&self.description())
        );
        self.draw_axes(&mut text, &batches, &scale);
        for series in &self.series {
            draw_series(&mut text, series, &batches, &scale);
        }
        text + "</svg>\n"
    }

    fn batches(&self) -> Vec<usize> {
        let mut batches: Vec<usize> =
            self.series.iter().flat_map(|series| series.points.iter().map(|dot| dot.batch)).collect();
        batches.sort_unstable();
        batches.dedup();
        batches
    }

    /// In words, for those who do not see the plot.
    fn description(&self) -> String {
        let mut text = format!("{} over the batch size.", self.axis);
        for Series { name, points, .. } in &self.series {
            if let (Some(first), Some(last)) = (points.first(), points.last()) {
                let (from, to) = (short(first.value), short(last.value));
                _ = write!(text, " {name}: {from} at {}, {to} at {}.", first.batch, last.batch);
            }
        }
        text
    }

    fn draw_axes(&self, text: &mut String, batches: &[usize], scale: &Scale) {
        for tick in &scale.ticks {
            let y = y_of(scale, *tick);
            _ = writeln!(
                text,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            );
            let (x, y) = (LEFT - 6.0, y + 4.0);
            _ = writeln!(
                text,
                "<text class=\"soft\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
                short(*tick)
            );
        }
        let bottom = HEIGHT - BOTTOM;
        _ = writeln!(
            text,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{bottom}\" y2=\"{bottom}\"/>",
            WIDTH - RIGHT
        );
        for (place, batch) in batches.iter().enumerate() {
            let (x, y) = (x_of(place, batches.len()), bottom + 17.0);
            _ = writeln!(text, "<text class=\"soft\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{batch}</text>");
        }
        _ = writeln!(text, "<text x=\"2\" y=\"13\">{}</text>", escape(self.axis));
        let (x, y) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0);
        _ = writeln!(text, "<text class=\"soft\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">batch size</text>");
    }
}

fn draw_series(text: &mut String, series: &Series, batches: &[usize], scale: &Scale) {
    let place = |dot: &Dot| batches.iter().position(|batch| *batch == dot.batch).unwrap_or(0);
    let x = |dot: &Dot| x_of(place(dot), batches.len());
    _ = write!(text, "<g class=\"s{}\"><polyline class=\"curve\" points=\"", series.style % 6);
    series.points.iter().for_each(|dot| _ = write!(text, "{:.1},{:.1} ", x(dot), y_of(scale, dot.value)));
    *text += "\"/>\n";
    for dot in &series.points {
        let (x, low, high) = (x(dot), y_of(scale, dot.low), y_of(scale, dot.high));
        let [value, from, to] = [dot.value, dot.low, dot.high].map(short);
        let told = format!("{}, batch {}: {value} ({from} – {to})", series.name, dot.batch);
        _ = writeln!(
            text,
            "<g><title>{}</title><line class=\"range\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\"/>{}</g>",
            escape(&told),
            mark(series.style, x, y_of(scale, dot.value))
        );
    }
    *text += "</g>\n";
}

/// A mark that also differs in shape, for those who do not tell the colours apart.
pub(super) fn mark(style: usize, x: f64, y: f64) -> String {
    let path = |points: &[(f64, f64)]| {
        let points: Vec<String> = points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
        format!("<polygon class=\"mark\" points=\"{}\"/>", points.join(" "))
    };
    match style % 6 {
        0 => format!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"),
        1 => path(&[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)]),
        2 => path(&[(0.0, -5.5), (5.0, 4.0), (-5.0, 4.0)]),
        3 => path(&[(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)]),
        4 => path(&[(-5.0, -4.0), (5.0, -4.0), (0.0, 5.5)]),
        _ => path(&[(-5.0, -2.0), (5.0, -2.0), (5.0, 2.0), (-5.0, 2.0)]),
    }
}

fn x_of(place: usize, count: usize) -> f64 {
    // Half a step of space on both sides, so that marks do not touch the axis.
    LEFT + (place as f64 + 0.5) / count.max(1) as f64 * (WIDTH - LEFT - RIGHT)
}

fn y_of(scale: &Scale, value: f64) -> f64 {
    HEIGHT - BOTTOM - scale.place(value) * (HEIGHT - BOTTOM - TOP)
}
