//! What of this process is in memory, as the system counts it: mapped files included, as far as they were read.

/// Bytes that are resident now, where the system tells.
pub fn now() -> Option<u64> {
    status("VmRSS:")
}

/// The most bytes that ever were resident, or were since [`forget_peak`], where the system tells.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Begins to count the peak anew, where the system lets us: whether it did.
pub fn forget_peak() -> bool {
    // Linux: 5 is for the peak alone.
    cfg!(any(target_os = "linux", target_os = "android")) && std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn status(key: &str) -> Option<u64> {
    crate::status::kib(&std::fs::read_to_string("/proc/self/status").ok()?, key)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn status(_key: &str) -> Option<u64> {
    None
}
