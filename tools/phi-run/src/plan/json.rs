//! The plan for machines: all bytes as integers.

use phi_convert::Rule;
use phi_plan::{Error, Quant};
use serde_json::{Value, json};

use super::Question;
use super::table::CACHES;
use phi_plan::fit;

pub(super) fn object(question: &Question) -> Result<Value, Error> {
    let Question { subject, asked, budget, .. } = question;
    let need = subject.need(asked)?;
    let rule = match asked.quant {
        Quant::File => "file",
        Quant::Mix(_, Rule::Current) => "current",
        Quant::Mix(_, Rule::Classic) => "classic",
    };
    let run = &asked.run;
    let kv_type = if run.k_type == run.v_type {
        fit::lower(run.k_type)
    } else {
        format!("{}/{}", fit::lower(run.k_type), fit::lower(run.v_type))
    };
    let longest = question.longest(asked)?;
    let max_ctx: serde_json::Map<_, _> =
        CACHES.iter().zip(longest).map(|(&kv, n)| (fit::lower(kv), json!(n))).collect();
    let bound = budget.bandwidth.map(|bandwidth| bandwidth / need.token_bytes() as f64);
    Ok(json!({
        "schema": 1,
        "model": subject.name,
        "source": subject.source.name(),
        "quant": subject.quant_name(asked.quant),
        "rule": rule,
        "ctx": need.n_ctx,
        "ctx_allocated": need.n_ctx,
        "kv_type": kv_type,
        "ubatch": run.n_batch.min(need.n_ctx),
        "sequences": asked.sequences,
        "bytes": {
            "weights": need.weights,
            "repack": 0,
            "kv": need.kv,
            "compute": need.compute,
            "base": need.base,
            "total": need.total(),
        },
        "anonymous": need.anonymous(),
        "file_backed": need.weights,
        "at_start": need.at_start(),
        "available": budget.bytes,
        "available_from": budget.from,
        "verdict": need.verdict(budget.bytes).name(),
        "max_ctx": max_ctx,
        "tokens_per_s_bound": bound,
    }))
}
