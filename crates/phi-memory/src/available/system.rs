//! macOS and Windows: what their interfaces say, through somebody else's safe door to them.

use sysinfo::{MemoryRefreshKind, System};

use super::{ADDRESS_SPACE_32, Available, Source};

/// What the system could give; of 32 bits, at most what can be addressed.
pub(super) fn available() -> Option<Available> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let (bytes, from) = if cfg!(windows) {
        (system.available_memory(), Source::AvailablePhysical)
    } else {
        // What macOS itself calls available counts memory that others use and that it could compress.
        (system.total_memory().saturating_sub(system.used_memory()), Source::FreeCachedPurgeable)
    };
    // A system that would not say leaves zeros, and none has no memory at all.
    let given = (system.total_memory() > 0).then_some(Available { bytes, from });
    let addressed = Available { bytes: ADDRESS_SPACE_32, from: Source::AddressSpace };
    let addressed = cfg!(target_pointer_width = "32").then_some(addressed);
    [given, addressed].into_iter().flatten().min_by_key(|available| available.bytes)
}

/// Free swap.
pub(super) fn swap_bytes() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_swap());
    Some(system.free_swap())
}
