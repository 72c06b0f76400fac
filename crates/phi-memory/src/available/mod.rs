//! How much memory a program that starts now may take.

#[cfg(any(target_os = "linux", target_os = "android", test))]
mod cgroup;
#[cfg(any(target_os = "linux", target_os = "android", test))]
mod linux;
#[cfg(any(target_os = "macos", windows))]
mod system;
#[cfg(test)]
mod tests;

use std::fmt;

/// How much memory can be had without taking it from others, and who says so.
///
/// Of all limits it is the lowest: what the system could give, what the control groups of a container leave, what
/// `ulimit -v` leaves. Pages of files that can be dropped and read again count as free. Swap never counts, compressed
/// memory neither: a model that swaps is as good as one that does not run; [`swap_bytes`] is for mentioning it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// Where the figure is from.
    pub from: Source,
}

/// Who says how much memory there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Source {
    /// Linux: the kernel's own estimate, in `/proc/meminfo`.
    MemAvailable,
    /// Linux: what a control group, or one above it, leaves. Containers have such a limit.
    ControlGroup,
    /// What the limit on address space, `ulimit -v`, leaves. Mapped files need address space, too.
    AddressSpaceLimit,
    /// What is left of the address space of a program of 32 bits. Mapped files need address space, too.
    AddressSpace,
    /// macOS: all but what its Activity Monitor calls used, which is memory of programs, wired, and compressed.
    FreeCachedPurgeable,
    /// Windows: physical memory that can be had without writing any to a disk.
    AvailablePhysical,
}

impl Available {
    /// What this process may take now, or `None` where the system does not say.
    pub fn now() -> Option<Available> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return linux::System::here().available();
        #[cfg(any(target_os = "macos", windows))]
        return system::available();
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", windows)))]
        return None;
    }
}

/// Swap that is free, or `None` where the system does not say. Never part of what is [`Available`].
pub fn swap_bytes() -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return linux::System::here().swap_bytes();
    #[cfg(any(target_os = "macos", windows))]
    return system::swap_bytes();
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", windows)))]
    return None;
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Source::MemAvailable => "MemAvailable",
            Source::ControlGroup => "cgroup limit",
            Source::AddressSpaceLimit => "RLIMIT_AS",
            Source::AddressSpace => "address space of 32 bits",
            Source::FreeCachedPurgeable => "free + cached files + purgeable",
            Source::AvailablePhysical => "available physical memory",
        })
    }
}

/// What a program of 32 bits can address: the fourth GiB is the kernel's.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", windows, test))]
const ADDRESS_SPACE_32: u64 = 3 << 30;
