//! Memory, in the words of a user: planned, and as the system saw it.

use phi_cli::Size;
use phi_plan::Budget;
use phi_runtime::{Available, Plan, Session, resident};

/// One line: what was planned, and the peak that the system counted.
pub(crate) fn line(plan: &Plan) -> String {
    let planned = format!(
        "weights {} mapped, buffers {}, with program and tokenizer {} planned",
        Size(plan.weight_bytes()),
        Size(plan.buffer_bytes()),
        Size(plan.total_bytes())
    );
    match resident::peak() {
        Some(peak) => format!("memory: {planned}, peak of the process {}", Size(peak)),
        None => format!("memory: {planned}"),
    }
}

/// One line: how many tokens a second.
pub(crate) fn speed(session: &Session<'_>) -> String {
    let (prompt, generated) = (session.prompt_tally(), session.generated_tally());
    format!(
        "prompt: {} tokens, {:.1} tokens/s; generation: {} tokens, {:.1} tokens/s",
        prompt.tokens,
        prompt.rate(),
        session.n_generated(),
        generated.rate()
    )
}

/// What this machine has to give now. Where the system does not say, as much as there could be.
pub(crate) fn available() -> Budget {
    match Available::now() {
        Some(available) => Budget { bytes: available.bytes, from: available.from.to_string(), bandwidth: None },
        None => Budget { bytes: u64::MAX, from: "this system does not say".into(), bandwidth: None },
    }
}
