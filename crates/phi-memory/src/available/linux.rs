//! Linux: text files say it all.

use std::path::{Path, PathBuf};

use super::{ADDRESS_SPACE_32, Available, Source, cgroup};
use crate::status::kib;

/// Where to read: `/` and `self`, but in tests.
pub(super) struct System<'a> {
    /// What all paths begin with.
    pub(super) root: &'a Path,
    /// The folder of the process within `/proc`.
    pub(super) process: &'a str,
    /// Bits of an address.
    pub(super) bits: u32,
}

impl System<'static> {
    /// This process, on this system.
    pub(super) fn here() -> Self {
        System { root: Path::new("/"), process: "self", bits: usize::BITS }
    }
}

impl System<'_> {
    /// The lowest of all limits that are known.
    pub(super) fn available(&self) -> Option<Available> {
        let limits = [
            (self.mem_info("MemAvailable:"), Source::MemAvailable),
            (self.control_groups(), Source::ControlGroup),
            (self.address_space_limit(), Source::AddressSpaceLimit),
            ((self.bits <= 32).then(|| self.address_space_left(ADDRESS_SPACE_32)), Source::AddressSpace),
        ];
        let known = limits.into_iter().filter_map(|(bytes, from)| Some(Available { bytes: bytes?, from }));
        known.min_by_key(|available| available.bytes)
    }

    /// Free swap, that in compressed memory included.
    pub(super) fn swap_bytes(&self) -> Option<u64> {
        self.mem_info("SwapFree:")
    }

    fn mem_info(&self, key: &str) -> Option<u64> {
        kib(&self.read("meminfo")?, key)
    }

    fn control_groups(&self) -> Option<u64> {
        let groups = self.read(&format!("{}/cgroup", self.process))?;
        // Without it the usual places are tried.
        let mounts = self.read(&format!("{}/mountinfo", self.process)).unwrap_or_default();
        cgroup::left(self.root, &groups, &mounts)
    }

    /// What the soft limit leaves, unless there is none.
    fn address_space_limit(&self) -> Option<u64> {
        let limit = address_space_limit(&self.read(&format!("{}/limits", self.process))?)?;
        Some(self.address_space_left(limit))
    }

    fn address_space_left(&self, limit: u64) -> u64 {
        let status = self.read(&format!("{}/status", self.process));
        let used = status.and_then(|status| kib(&status, "VmSize:")).unwrap_or(0);
        limit.saturating_sub(used)
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join("proc").join(name)).ok()
    }
}

/// The soft limit of the line `Max address space  SOFT  HARD  bytes`.
fn address_space_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// An absolute path of the system, below `root`.
pub(super) fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
