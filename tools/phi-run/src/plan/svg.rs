//! Memory against context, one line for each quantization, with what there is.

use std::fmt::Write;

use phi_plan::Error;
use phi_runtime::DType;

use super::table::{CONTEXTS, short};
use super::{MIB, Question};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// Around the drawing: for numbers, and on the right for names.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Names closer than this would run into each other.
const LINE: f64 = 15.0;
/// Told apart by people who see colours differently as well.
const COLORS: [&str; 9] =
    ["#555555", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a6d00", "#7a3db8"];

pub(super) fn draw(question: &Question) -> Result<String, Error> {
    let trained = question.subject.decoder.n_ctx_train;
    let mut contexts: Vec<usize> = CONTEXTS.into_iter().filter(|&n| n <= trained).collect();
    if contexts.len() < 2 {
        contexts = vec![trained.div_ceil(2).max(1), trained];
    }
    let mut lines = Vec::new();
    for (name, quant) in question.quants() {
        let mut line = Vec::new();
        for &n_ctx in &contexts {
            if let Some(need) = question.cell(quant, n_ctx, DType::F16)? {
                line.push((n_ctx, need.total() as f64 / MIB / 1024.0));
            }
        }
        lines.push((name, line));
    }
    let available = question.budget.bytes as f64 / MIB / 1024.0;
    let most = lines.iter().flat_map(|(_, line)| line).map(|(_, gib)| *gib).fold(available, f64::max);
    let step = step(most);
    let top = (most / step).ceil() * step;
    let first = (contexts[0] as f64).log2();
    let span = (contexts[contexts.len() - 1] as f64).log2() - first;
    let x = |n_ctx: usize| LEFT + ((n_ctx as f64).log2() - first) / span * (WIDTH - LEFT - RIGHT);
    let y = |gib: f64| HEIGHT - BOTTOM - gib / top * (HEIGHT - TOP - BOTTOM);

    let mut out = String::new();
    // What is in a string does not fail to be written.
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="22" font-size="15">{}: memory in GiB by context, KV cache f16</text>"##,
        escaped(&question.subject.name)
    );
    let mut gib = 0.0;
    while gib <= top + step / 2.0 {
        let y = y(gib);
        let _ = writeln!(out, r##"<path d="M{LEFT} {y:.1}H{}" stroke="#e0e0e0"/>"##, WIDTH - RIGHT);
        let _ = writeln!(out, r#"<text x="{}" y="{:.1}" text-anchor="end">{gib}</text>"#, LEFT - 8.0, y + 4.0);
        gib += step;
    }
    for &n_ctx in &contexts {
        let label = short(n_ctx);
        let bottom = HEIGHT - BOTTOM + 20.0;
        let _ = writeln!(out, r#"<text x="{:.1}" y="{bottom}" text-anchor="middle">{label}</text>"#, x(n_ctx));
    }
    let limit = y(available);
    let from = escaped(&question.budget.from);
    let _ = writeln!(
        out,
        r##"<path d="M{LEFT} {limit:.1}H{}" stroke="#cc0000" stroke-width="1.5" stroke-dasharray="6 4"/>
<text x="{}" y="{:.1}" fill="#cc0000">{available:.1} GiB: {from}</text>"##,
        WIDTH - RIGHT,
        LEFT + 6.0,
        limit - 5.0
    );
    let mut last = f64::INFINITY;
    // The names stand apart from below upwards, as the lines do.
    let mut order: Vec<_> = lines.iter().zip(COLORS.iter().cycle()).collect();
    order.sort_by(|((_, a), _), ((_, b), _)| {
        let end = |line: &Vec<(usize, f64)>| line.last().map_or(0.0, |(_, gib)| *gib);
        end(a).total_cmp(&end(b))
    });
    for ((name, line), color) in order {
        let points: Vec<_> = line.iter().map(|&(n_ctx, gib)| format!("{:.1},{:.1}", x(n_ctx), y(gib))).collect();
        let points = points.join(" ");
        let _ = writeln!(out, r#"<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>"#);
        let Some(&(_, gib)) = line.last() else { continue };
        last = (y(gib) + 4.0).min(last - LINE);
        let _ = writeln!(out, r#"<text x="{}" y="{last:.1}" fill="{color}">{name}</text>"#, WIDTH - RIGHT + 8.0);
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// A round distance between lines, of which five or so fit.
fn step(most: f64) -> f64 {
    let raw = most / 5.0;
    let ten = 10_f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * ten).find(|&step| step >= raw).unwrap_or(10.0 * ten)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
