//! The answer first, then the table, then the parts.

use std::fmt::Write;

use phi_cli::{Align, Table};
use phi_plan::{Asked, Error, Need, OnCard, Quant, Source, Verdict, fit};
use phi_runtime::{DType, Experts, Residency};

use super::table::{CONTEXTS, short};
use super::{MIB, Question, mib, spaced};

pub(super) fn text(question: &Question, verbose: bool) -> Result<String, Error> {
    let Question { subject, asked, budget, .. } = question;
    let mut out = String::new();
    let gb = budget.bytes as f64 / 1e9;
    let _ = writeln!(out, "{}", subject.name);
    let _ = writeln!(out, "Available: {} MiB ({gb:.2} GB), from {}\n", spaced(budget.bytes >> 20), budget.from);
    out.push_str(&verdicts(question)?);
    if subject.source != Source::Gguf && subject.name == "phi-4" {
        out.push_str(
            "\nPhi-4 is 5120 wide with 40 heads, as its config.json says; tables with 3072 and 24 show Phi-4-mini.\n",
        );
    }
    if let Some(card) = question.card {
        let _ = write!(
            out,
            "\nCard    {:.0} GiB, of which {} MiB are free (an estimate, nothing here runs on one yet): ",
            card.bytes as f64 / (1_u64 << 30) as f64,
            spaced(card.free() >> 20)
        );
        let _ = match card.place(subject, asked)? {
            OnCard::Everything { n_ctx } => writeln!(out, "everything, with a context up to {}", spaced(n_ctx as u64)),
            OnCard::Layers { layers, of } => writeln!(out, "{layers} of {of} layers and the head"),
        };
    }
    let _ = writeln!(out, "\n{}", overview(question)?);
    let _ = write!(out, "{}", parts(question, verbose)?);
    Ok(out)
}

/// What is asked, what would help, what would be best.
fn verdicts(question: &Question) -> Result<String, Error> {
    let Question { subject, asked, budget, .. } = question;
    let need = subject.need(asked)?;
    let verdict = need.verdict(budget.bytes);
    let mut table = Table::new([("", Align::Left), ("", Align::Left), ("MiB", Align::Right), ("", Align::Left)]);
    table.row([
        "Asked".into(),
        describe(question, asked, &need),
        spaced(mib(need.total())),
        judged(&need, budget.bytes),
    ]);
    if verdict != Verdict::Fits {
        for change in fit::levers(subject, asked, budget.bytes)? {
            let after = change.need.verdict(budget.bytes);
            let saved = mib(need.total() - change.need.total());
            let enough = if after <= Verdict::Tight { after.name() } else { "not enough alone" };
            let saving = format!("{} \u{2212}{}", change.options, spaced(saved));
            table.row([String::new(), saving, spaced(mib(change.need.total())), enough.into()]);
        }
        match fit::cheapest(subject, asked, budget.bytes)? {
            Some(change) => table.row([
                "Remedy".into(),
                change.options.clone(),
                spaced(mib(change.need.total())),
                judged(&change.need, budget.bytes),
            ]),
            None => {
                let remedy = fit::smallest_known().map_or(String::new(), |(name, need)| {
                    format!(
                        "nothing fits; the least of the family is {name} Q2_K with {} MiB",
                        spaced(mib(need.total()))
                    )
                });
                table.row(["Remedy".into(), remedy, String::new(), String::new()]);
            }
        }
    }
    let wanted = if asked.run.n_ctx.is_some() { asked.clone() } else { asked.with_ctx(need.n_ctx) };
    if let Some(best) = fit::best(subject, &wanted, budget.bytes)? {
        let made = if fit::is_made(subject, best.asked.quant) { ", to be made" } else { "" };
        let text = describe(question, &best.asked, &best.need) + made;
        table.row(["Best".into(), text, spaced(mib(best.need.total())), judged(&best.need, budget.bytes)]);
    }
    let usual = asked.with_quant(match asked.quant {
        Quant::File => Quant::File,
        Quant::Mix(..) => Quant::of(phi_convert::FileType::Q4_K_M),
    });
    let q8 = if subject.decoder.head_dim.is_multiple_of(32) { DType::Q8_0 } else { DType::F16 };
    let long = usual.with_kv(q8);
    if let Some(n_ctx) = fit::longest(subject, &long, budget.bytes, Verdict::Fits)? {
        let long = long.with_ctx(n_ctx);
        let need = subject.need(&long)?;
        let text = describe(question, &long, &need);
        table.row(["Longest".into(), text, spaced(mib(need.total())), judged(&need, budget.bytes)]);
    }
    let mut out = table.to_string();
    if let Some(bandwidth) = budget.bandwidth
        && verdict <= Verdict::Tight
    {
        let bound = bandwidth / need.token_bytes() as f64;
        let _ = writeln!(
            out,
            "\nSpeed   at most {bound:.1} tokens/s: {} MiB are read for each, at {:.0} GB/s (assumed)",
            spaced(mib(need.token_bytes())),
            bandwidth / 1e9
        );
    }
    Ok(out)
}

fn describe(question: &Question, asked: &Asked, need: &Need) -> String {
    let run = &asked.run;
    let kv = if run.k_type == run.v_type {
        fit::lower(run.k_type)
    } else {
        format!("{}/{}", fit::lower(run.k_type), fit::lower(run.v_type))
    };
    let quant = question.subject.quant_name(asked.quant);
    let sequences = if asked.sequences > 1 { format!(" × {}", asked.sequences) } else { String::new() };
    format!("{quant}, context {}{sequences}, KV {kv}", spaced(need.n_ctx as u64))
}

fn judged(need: &Need, available: u64) -> String {
    let verdict = need.verdict(available);
    match verdict {
        Verdict::Fits | Verdict::Tight => {
            format!("{}, {} MiB to spare", verdict.name(), spaced((available - need.total()) >> 20))
        }
        Verdict::Slow => format!(
            "slow: weights are read from the disk again and again; {} MiB too much to stay",
            spaced(mib(need.total() - available))
        ),
        Verdict::No => format!("no: {} MiB too much", spaced(mib(need.total() - available))),
    }
}

/// A verdict for each quantization and context, with a cache of 16 bits.
fn overview(question: &Question) -> Result<String, Error> {
    let trained = question.subject.decoder.n_ctx_train;
    let contexts: Vec<usize> = CONTEXTS.into_iter().filter(|&n| n <= trained.max(CONTEXTS[1])).collect();
    let mut out = format!("{:<8}", "KV f16");
    for &n_ctx in &contexts {
        let _ = write!(out, "{:>7}", short(n_ctx));
    }
    let _ = writeln!(out, "   longest context: f16 / q8_0 / q4_0");
    for (name, quant) in question.quants() {
        let _ = write!(out, "{name:<8}");
        for &n_ctx in &contexts {
            let need = question.cell(quant, n_ctx, DType::F16)?;
            let _ = write!(out, "{:>7}", need.map_or("", |need| need.verdict(question.budget.bytes).name()));
        }
        let longest = question.longest(&question.asked.with_quant(quant))?.map(|n| match n {
            Some(n) if n >= trained => "all".into(),
            Some(n) => n.to_string(),
            None => "\u{2013}".to_string(),
        });
        let _ = writeln!(out, "   {}", longest.join(" / "));
    }
    Ok(out)
}

/// The parts of what is asked for, by kind.
fn parts(question: &Question, verbose: bool) -> Result<String, Error> {
    let Question { subject, asked, .. } = question;
    let need = subject.need(asked)?;
    let mut table = Table::new([("", Align::Left), ("MiB", Align::Right), ("kind", Align::Left), ("why", Align::Left)]);
    let exact = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
    let tensors: usize = need.parts.types.iter().map(|(_, n, _)| n).sum();
    let types: Vec<_> = need.parts.types.iter().map(|(t, _, bytes)| format!("{t} {}", exact(*bytes))).collect();
    let mut row = |name: &str, bytes, kind: &str, why: String| {
        table.row([name.into(), exact(bytes), kind.into(), why]);
    };
    row("weights", need.weights, "file-backed", format!("{tensors} tensors: {}", types.join(", ")));
    let sequences = if asked.sequences > 1 { format!(" × {} conversations", asked.sequences) } else { String::new() };
    let kv = format!("{} × {} B{sequences}, grows to this", need.n_ctx, need.kv_per_token);
    row("KV cache", need.kv, "reserved", kv);
    row("compute", need.compute, "anonymous", format!("ubatch {}", asked.run.n_batch.min(need.n_ctx)));
    row("tokenizer, program", need.base, "anonymous", format!("{} words, estimated", subject.n_tokens));
    row("total", need.total(), "", format!("of which {} cannot be reclaimed", exact(need.anonymous())));
    let per_token = need.kv_per_token as f64 * asked.sequences as f64 / MIB;
    row("at start", need.at_start(), "", format!("KV grows {per_token:.3} MiB per token"));
    if let Some(experts) = subject.decoder.experts() {
        let used = format!("of the weights, with {} of {} experts", Experts::USED, experts.n_expert);
        row("read for a token", need.weights - need.parts.idle, "", used);
    }
    let mut out = table.to_string();
    if verbose {
        let mut buffers = Table::new([
            ("buffer", Align::Left),
            ("shape", Align::Left),
            ("bytes", Align::Right),
            ("kind", Align::Left),
        ]);
        for row in need.plan.rows() {
            let dims: Vec<_> = row.dims.iter().map(ToString::to_string).collect();
            let kind = if row.residency == Residency::Reserved { "reserved" } else { "anonymous" };
            buffers.row([row.name, dims.join(" × "), row.bytes.to_string(), kind.into()]);
        }
        let _ = write!(out, "\n{buffers}");
    }
    Ok(out)
}
