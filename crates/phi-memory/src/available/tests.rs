use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};

use phi_testkit::run_cases;

use super::linux::System;
use super::*;

/// Files of a made-up system, by their paths.
type Files = &'static [(&'static str, &'static str)];

/// 8 GiB, which nobody limits.
const MEM_INFO: &str = "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    8388608 kB\n\
                        SwapTotal:       2097152 kB\nSwapFree:        1048576 kB\n";

const PLAIN: Files = &[("proc/meminfo", MEM_INFO), ("proc/self/cgroup", "0::/\n")];

const V2_MOUNT: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                        30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

const V1_MOUNTS: &str = "31 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                         32 22 0:28 /docker/3b06 /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                         33 22 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

const V1_GROUPS: &str = "9:name=systemd:/docker/3b06\n4:memory:/docker/3b06\n3:cpu,cpuacct:/docker/3b06\n0::/\n";

const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max cpu time              unlimited            unlimited            seconds   \n\
                      Max address space         2147483648           unlimited            bytes     \n";

/// What a 64-bit program finds on a system of these files on top of [`PLAIN`].
fn find(files: &[(&str, &str)], bits: u32) -> (Option<Available>, Option<u64>) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in PLAIN.iter().chain(files) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let system = System { root: root.path(), process: "self", bits };
    (system.available(), system.swap_bytes())
}

#[test]
fn the_lowest_limit_wins_and_says_who_it_is() {
    use Source::{AddressSpaceLimit, ControlGroup, MemAvailable};
    let cases: &[(&str, Files, Source, u64)] = &[
        ("nobody limits", &[], MemAvailable, 8 << 30),
        (
            "v2: what is used, without pages of files",
            &[
                ("sys/fs/cgroup/memory.max", "4294967296\n"),
                ("sys/fs/cgroup/memory.current", "1073741824\n"),
                (
                    "sys/fs/cgroup/memory.stat",
                    "anon 7\ninactive_file 268435456\nactive_file 268435456\nfile 999999999\n",
                ),
            ],
            ControlGroup,
            (4 << 30) - (512 << 20),
        ),
        (
            "v2: the group above is the narrower one",
            &[
                ("proc/self/cgroup", "0::/a.slice/b.scope\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/a.slice/memory.max", "1073741824"),
                ("sys/fs/cgroup/a.slice/memory.current", "1000000000"),
                ("sys/fs/cgroup/a.slice/b.scope/memory.max", "536870912"),
                ("sys/fs/cgroup/a.slice/b.scope/memory.current", "0"),
            ],
            ControlGroup,
            (1 << 30) - 1_000_000_000,
        ),
        (
            "v2: only the group below is limited",
            &[
                ("proc/self/cgroup", "0::/a.slice/b.scope\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/a.slice/memory.max", "max"),
                ("sys/fs/cgroup/a.slice/b.scope/memory.max", "536870912"),
                ("sys/fs/cgroup/a.slice/b.scope/memory.current", "36870912"),
            ],
            ControlGroup,
            500_000_000,
        ),
        (
            "v2: a group of a name with a colon, mounted at a place with a space",
            &[
                ("proc/self/cgroup", "0::/pod:7\n"),
                ("proc/self/mountinfo", "30 22 0:26 / /my\\040groups rw - cgroup2 none rw\n"),
                ("my groups/pod:7/memory.max", "4096"),
            ],
            ControlGroup,
            4096,
        ),
        (
            "v2: a group that cannot be seen from here is at most the root of what can",
            &[
                ("proc/self/cgroup", "0::/../../elsewhere\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/memory.max", "8192"),
            ],
            ControlGroup,
            8192,
        ),
        (
            "v2: no limit",
            &[("sys/fs/cgroup/memory.max", "max\n"), ("sys/fs/cgroup/memory.current", "99999999999\n")],
            MemAvailable,
            8 << 30,
        ),
        ("v2: more than 64 bits", &[("sys/fs/cgroup/memory.max", "18446744073709551616")], MemAvailable, 8 << 30),
        (
            "v1: a container, whose group is the root of what it sees",
            &[
                ("proc/self/cgroup", V1_GROUPS),
                ("proc/self/mountinfo", V1_MOUNTS),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1610612736\n"),
                (
                    "sys/fs/cgroup/memory/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 536870912\ntotal_active_file 268435456\n",
                ),
            ],
            ControlGroup,
            (2 << 30) - (768 << 20),
        ),
        (
            "v1: a limit further up that only the statistics tell",
            &[
                ("proc/self/cgroup", V1_GROUPS),
                ("proc/self/mountinfo", V1_MOUNTS),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "4096\n"),
                ("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 1073741824\n"),
            ],
            ControlGroup,
            (1 << 30) - 4096,
        ),
        (
            "v1: nested, seen from outside",
            &[
                ("proc/self/cgroup", "4:memory:/a/b\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3000"),
                ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1000"),
                ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "2500"),
            ],
            ControlGroup,
            2000,
        ),
        (
            "v1: no limit, as pages of 4 KiB and of 64 KiB write it, and as -1",
            &[
                ("proc/self/cgroup", "4:memory:/a/b\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854710272"),
                ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "-1"),
            ],
            MemAvailable,
            8 << 30,
        ),
        (
            "ulimit -v, of which some is used",
            &[("proc/self/limits", LIMITS), ("proc/self/status", "Name:\tx\nVmSize:\t   1048576 kB\nVmRSS:\t 5 kB\n")],
            AddressSpaceLimit,
            1 << 30,
        ),
        (
            "no ulimit -v",
            &[("proc/self/limits", "Max address space         unlimited            unlimited            bytes     \n")],
            MemAvailable,
            8 << 30,
        ),
        ("used up", &[("sys/fs/cgroup/memory.max", "5"), ("sys/fs/cgroup/memory.current", "7")], ControlGroup, 0),
        (
            "more pages of files than pages",
            &[
                ("sys/fs/cgroup/memory.max", "4096"),
                ("sys/fs/cgroup/memory.current", "1"),
                ("sys/fs/cgroup/memory.stat", "inactive_file 18446744073709551615\nactive_file 18446744073709551615\n"),
            ],
            ControlGroup,
            4096,
        ),
        (
            "numbers that are none",
            &[
                ("proc/self/cgroup", "0::/a\nfour\n5:memory\n::\n0::\n:memory:\n"),
                ("proc/self/mountinfo", "\n - \n30 22 0:26 - cgroup2\n1 2 3 \\9 \\77 - cgroup2 a b c\nx - y\n"),
                ("proc/self/limits", "Max address space\nMax address space 7\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "0x10"),
                ("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit\nhierarchical_memory_limit -3\n"),
            ],
            MemAvailable,
            8 << 30,
        ),
    ];
    let n = run_cases(cases.iter().map(|case| (case.0, case)), |&(_, files, from, bytes)| match find(files, 64).0 {
        Some(found) if found == (Available { bytes, from }) => Ok(()),
        found => Err(format!("{found:?} instead of {bytes} bytes from {from}")),
    });
    assert_eq!(n, cases.len());
}

#[test]
fn a_program_of_32_bits_has_3_gib() {
    let status = [("proc/self/status", "VmSize:\t   1024 kB\n")];
    let found = find(&status, 32).0.unwrap();
    assert_eq!(found, Available { bytes: (3 << 30) - (1 << 20), from: Source::AddressSpace });
}

#[test]
fn swap_is_told_apart() {
    assert_eq!(find(&[], 64).1, Some(1 << 30));
}

#[test]
fn what_nobody_says_is_not_known() {
    for mem_info in ["", "MemAvailable: 5", "MemAvailable: x kB", "MemAvailable: 18014398509481985 kB"] {
        assert_eq!(find(&[("proc/meminfo", mem_info)], 64), (None, None), "{mem_info}");
    }
    let nothing = System { root: Path::new("/there is no such folder"), process: "self", bits: 64 };
    assert_eq!(nothing.available(), None);
}

#[test]
fn this_system_says_something() {
    let known = cfg!(any(target_os = "linux", target_os = "macos", windows));
    let now = Available::now();
    assert_eq!(now.is_some(), known);
    if let Some(now) = now {
        assert!((1 << 20..1 << 50).contains(&now.bytes), "{now:?}");
        assert!(!now.from.to_string().is_empty());
        assert!(swap_bytes().is_some());
    }
}

/// A process that waits to be ended.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A group that goes when the process in it has gone.
struct Group(std::path::PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Says why a test did not test, on a terminal that sees no output of tests that pass.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: a real control group: {why}");
}

#[test]
fn a_real_control_group_changes_the_answer() {
    if !cfg!(target_os = "linux") {
        return skipped("this is not Linux");
    }
    let name = format!("phi-memory-{}", std::process::id());
    let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    let found = places.iter().find_map(|(place, limit)| {
        let group = Path::new(place).join(&name);
        fs::create_dir(&group).ok()?;
        let group = Group(group);
        group.0.join(limit).exists().then_some((group, *limit))
    });
    let Some((group, limit)) = found else {
        return skipped("none with a limit on memory can be made here");
    };
    let Ok(sleeper) = Command::new("sleep").arg("600").spawn() else {
        return skipped("there is no `sleep` to put into it");
    };
    // Dropped before its group.
    let sleeper = Sleeper(sleeper);
    let process = sleeper.0.id().to_string();
    if let Err(e) = fs::write(group.0.join("cgroup.procs"), &process) {
        return skipped(&format!("no process can be moved into it: {e}"));
    }
    for mib in [64_u64, 32, 48] {
        if let Err(e) = fs::write(group.0.join(limit), (mib << 20).to_string()) {
            return skipped(&format!("its limit cannot be set: {e}"));
        }
        let system = System { root: Path::new("/"), process: &process, bits: 64 };
        let found = system.available().unwrap();
        assert_eq!(found.from, Source::ControlGroup, "{found:?}");
        // What little the sleeper takes is charged, or not, where it was before.
        assert!((mib - 16) << 20 < found.bytes && found.bytes <= mib << 20, "{mib} MiB: {found:?}");
    }
}
