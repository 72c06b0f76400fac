//! Quantization × context.

use std::fmt::Write;

use phi_convert::FileType;
use phi_plan::{Asked, Error, MIXES, Need, Quant, Verdict, fit};
use phi_runtime::DType;
use serde_json::json;

use super::args::TableFormat;
use super::{MIB, Question};

/// The contexts of the tables.
pub(super) const CONTEXTS: [usize; 7] = [2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10];
/// The caches of the tables.
pub(super) const CACHES: [DType; 3] = [DType::F16, DType::Q8_0, DType::Q4_0];

/// `4k`
pub(super) fn short(n_ctx: usize) -> String {
    if n_ctx.is_multiple_of(1024) { format!("{}k", n_ctx / 1024) } else { n_ctx.to_string() }
}

impl Question {
    /// The rows of the tables: a file's own types first, if no mixture of the table is meant to be like them.
    pub(super) fn quants(&self) -> Vec<(&'static str, Quant)> {
        let rule = match self.asked.quant {
            Quant::Mix(_, rule) => rule,
            Quant::File => phi_convert::Rule::Current,
        };
        let of = |&mix: &FileType| match self.subject.quant(mix) {
            Quant::File => (mix.name(), Quant::File),
            Quant::Mix(mix, _) => (mix.name(), Quant::Mix(mix, rule)),
        };
        let mut rows: Vec<_> = MIXES.iter().map(of).collect();
        if !rows.iter().any(|(_, quant)| *quant == self.asked.quant) {
            rows.insert(0, (self.subject.quant_name(self.asked.quant), self.asked.quant));
        }
        rows
    }

    /// What a cell needs; `None` where blocks of the cache do not divide a head.
    pub(super) fn cell(&self, quant: Quant, n_ctx: usize, kv: DType) -> Result<Option<Need>, Error> {
        if !self.subject.decoder.head_dim.is_multiple_of(kv.block_len()) {
            return Ok(None);
        }
        self.subject.need(&self.asked.with_quant(quant).with_ctx(n_ctx).with_kv(kv)).map(Some)
    }

    /// The longest contexts that go into the budget, a number for each cache: `19968 / 37376 / 69888`.
    pub(super) fn longest(&self, asked: &Asked) -> Result<[Option<usize>; 3], Error> {
        let mut all = [None; 3];
        for (longest, kv) in all.iter_mut().zip(CACHES) {
            if self.subject.decoder.head_dim.is_multiple_of(kv.block_len()) {
                *longest = fit::longest(&self.subject, &asked.with_kv(kv), self.budget.bytes, Verdict::Tight)?;
            }
        }
        Ok(all)
    }
}

/// The whole table, for documentation: MiB of everything, `f16 / q8_0 / q4_0`.
pub(super) fn whole(question: &Question, format: TableFormat) -> Result<String, Error> {
    let trained = question.subject.decoder.n_ctx_train;
    let mut out = String::new();
    let mut objects = Vec::new();
    // What is in a string does not fail to be written.
    match format {
        TableFormat::Md => {
            let heads = CONTEXTS.map(|n| format!(" {}{} |", short(n), if n > trained { "*" } else { "" }));
            let _ = writeln!(out, "| {} |{}", question.subject.name, heads.concat());
            let _ = writeln!(out, "|---|{}", "---:|".repeat(CONTEXTS.len()));
        }
        TableFormat::Csv => out.push_str("model,quant,ctx,kv_type,weights,kv,compute,base,total\n"),
        TableFormat::Json => {}
    }
    for (name, quant) in question.quants() {
        let mut line = format!("| {name} |");
        for n_ctx in CONTEXTS {
            let mut cells = Vec::new();
            for kv in CACHES {
                let Some(need) = question.cell(quant, n_ctx, kv)? else { continue };
                let Need { weights, kv: cache, compute, base, .. } = need;
                let total = need.total();
                let kv = fit::lower(kv);
                match format {
                    TableFormat::Md => cells.push(format!("{:.0}", total as f64 / MIB)),
                    TableFormat::Csv => {
                        let model = &question.subject.name;
                        let _ = writeln!(out, "{model},{name},{n_ctx},{kv},{weights},{cache},{compute},{base},{total}");
                    }
                    TableFormat::Json => objects.push(json!({
                        "model": question.subject.name, "quant": name, "ctx": n_ctx, "kv_type": kv,
                        "bytes": {"weights": weights, "kv": cache, "compute": compute, "base": base, "total": total},
                    })),
                }
            }
            let _ = write!(line, " {} |", cells.join(" / "));
        }
        if format == TableFormat::Md {
            let _ = writeln!(out, "{line}");
        }
    }
    if format == TableFormat::Json {
        let _ = writeln!(out, "{}", serde_json::Value::from(objects));
    }
    Ok(out)
}
