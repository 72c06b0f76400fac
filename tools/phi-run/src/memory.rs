//! Memory, in the words of a user: planned, and as the system saw it.

use phi_cli::Size;
use phi_runtime::{Plan, Session, resident};

/// One line: what was planned, and the peak that the system counted.
pub(crate) fn line(plan: &Plan) -> String {
    let planned =
        format!("weights {} mapped, buffers {} planned", Size(plan.weight_bytes()), Size(plan.buffer_bytes()));
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
        generated.tokens,
        generated.rate()
    )
}
