//! Lines of Linux's `/proc`.

/// Bytes behind `key` in a text of lines such as `MemAvailable:   23896056 kB`.
pub(crate) fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
