//! Memory, in the words of a user: planned, and as the system saw it.

use phi_cli::Size;
use phi_plan::Budget;
use phi_runtime::{Available, Plan, Session};

/// One line: what was planned, and the peak that the system counted.
pub(crate) fn line(plan: &Plan) -> String {
    let planned = format!(
        "weights {} mapped, buffers {}, with program and tokenizer {} planned",
        Size(plan.weight_bytes()),
        Size(plan.buffer_bytes()),
        Size(plan.total_bytes())
    );
    match peak_bytes() {
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

/// The most memory this process ever had resident, or had since [`forget_peak`], where the system tells.
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Begins to count the peak anew, where the system lets us: whether it did.
pub(crate) fn forget_peak() -> bool {
    // Linux: 5 is for the peak alone.
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// What this machine has to give now. Where the system does not say, as much as there could be.
pub(crate) fn available() -> Budget {
    match Available::now() {
        Some(available) => Budget { bytes: available.bytes, from: available.from.to_string(), bandwidth: None },
        None => Budget { bytes: u64::MAX, from: "this system does not say".into(), bandwidth: None },
    }
}
