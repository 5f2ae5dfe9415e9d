//! The day as a plot: requests, servers, and how long answers took.

use super::day::{DAY, HOUR, rate};
use super::fleet::Fleet;
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 28.0;
const PANEL: f64 = 120.0;
const GAP: f64 = 46.0;
const TOP: f64 = 30.0;
const PART_S: u32 = 300;

const STYLE: &str = "\
svg { color-scheme: light dark; } text { font: 13px system-ui, sans-serif; fill: #1d1b17; } .soft { fill: #5d584e; } \
.page { fill: #ffffff; } .grid { stroke: #e4dfd4; } .rule { stroke: #0b6e99; } .foresight { stroke: #b5482a; stroke-dasharray: 5 3; } \
.load { stroke: #56606b; } .limit { stroke: #a32414; stroke-dasharray: 2 3; } .curve { fill: none; stroke-width: 2; stroke-linejoin: round; } \
@media (prefers-color-scheme: dark) { text { fill: #ece9e2; } .soft { fill: #a9a59b; } .page { fill: #15171a; } .grid { stroke: #2f343a; } \
.rule { stroke: #5cc0ee; } .foresight { stroke: #ff9472; } .load { stroke: #b6c0cb; } .limit { stroke: #ff8d7a; } }";

/// One panel: values over the day.
struct Panel {
    title: String,
    most: f64,
    step: f64,
    curves: Vec<(&'static str, Vec<(f64, f64)>)>,
}

/// The page's three panels.
pub(crate) fn svg(ruled: &Fleet, foreseen: &Fleet, limit_ms: f32) -> String {
    let panels = [load(), servers(ruled, foreseen), latency(ruled, limit_ms)];
    let height = TOP + panels.len() as f64 * (PANEL + GAP);
    let most = ruled.history.iter().map(|(_, servers, _)| *servers).max().unwrap_or(0);
    let told = format!(
        "A simulated day with a rush of five times at 11:00. The rule of the manifests runs {:.2} servers on average and {most} at most, \
         a rule that knows the future {:.2}; 99 % of the day's answers take at most {:.0} ms.",
        ruled.mean_servers(),
        foreseen.mean_servers(),
        ruled.p99_ms(0.0, DAY)
    );
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"t d\">\n\
         <title id=\"t\">Scaling by what waits, on a simulated day</title>\n<desc id=\"d\">{told}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    for (place, panel) in panels.iter().enumerate() {
        draw(&mut text, panel, TOP + place as f64 * (PANEL + GAP));
    }
    text + "</svg>\n"
}

fn load() -> Panel {
    let curve =
        (0..=288).map(|part| f64::from(part) * 300.0).map(|second| (second, rate(second.min(DAY - 1.0)))).collect();
    Panel { title: "requests per second".to_owned(), most: 500.0, step: 250.0, curves: vec![("load", curve)] }
}

fn servers(ruled: &Fleet, foreseen: &Fleet) -> Panel {
    // Only changes, so that the curve has steps and the file stays small.
    let steps = |fleet: &Fleet| {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (second, servers, _) in &fleet.history {
            let (second, servers) = (*second, *servers as f64);
            match points.last() {
                Some((_, last)) if *last == servers => {}
                Some((_, last)) => points.extend([(second, *last), (second, servers)]),
                None => points.push((0.0, servers)),
            }
        }
        let last = points.last().map_or(0.0, |(_, servers)| *servers);
        points.push((DAY, last));
        points
    };
    let curves = vec![("rule", steps(ruled)), ("foresight", steps(foreseen))];
    let title = format!(
        "servers: the rule (line, mean {:.2}) and one that knows the future (dashes, mean {:.2})",
        ruled.mean_servers(),
        foreseen.mean_servers()
    );
    Panel { title, most: 16.0, step: 4.0, curves }
}

fn latency(ruled: &Fleet, limit_ms: f32) -> Panel {
    let most = 400.0;
    let parts = ruled.p99_by(PART_S).into_iter().enumerate();
    let curve = parts.map(|(part, ms)| ((part as f64 + 0.5) * f64::from(PART_S), f64::from(ms).min(most))).collect();
    let limit = vec![(0.0, f64::from(limit_ms)), (DAY, f64::from(limit_ms))];
    let title = format!(
        "P99 of each five minutes in ms, cut at {most:.0}; of the day {:.0} (at most {limit_ms})",
        ruled.p99_ms(0.0, DAY)
    );
    Panel { title, most, step: 100.0, curves: vec![("limit", limit), ("rule", curve)] }
}

fn draw(text: &mut String, panel: &Panel, top: f64) {
    let bottom = top + PANEL;
    let x = |second: f64| LEFT + second / DAY * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| bottom - (value / panel.most).min(1.0) * PANEL;
    _ = writeln!(text, "<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>", top - 8.0, panel.title);
    for tick in 0..=(panel.most / panel.step) as usize {
        let value = tick as f64 * panel.step;
        let (y, end) = (y(value), WIDTH - RIGHT);
        _ = writeln!(text, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        _ = writeln!(
            text,
            "<text class=\"soft\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    for hour in (0..=24).step_by(3) {
        let at = x(f64::from(hour) * HOUR);
        _ = writeln!(
            text,
            "<text class=\"soft\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{hour}:00</text>",
            bottom + 17.0
        );
    }
    for (class, curve) in &panel.curves {
        let points: Vec<String> =
            curve.iter().map(|(second, value)| format!("{:.1},{:.1}", x(*second), y(*value))).collect();
        _ = writeln!(text, "<polyline class=\"curve {class}\" points=\"{}\"/>", points.join(" "));
    }
}
