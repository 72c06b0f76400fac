//! Control groups, both versions: what limits on memory leave.
//!
//! A process is in one group of each hierarchy (`/proc/self/cgroup`), and a group's limit holds for all groups below it. A
//! hierarchy is mounted somewhere, in a container only from some group on (`/proc/self/mountinfo`): that group and those
//! above are not seen, or seen as the root.

use std::path::{Component, Path, PathBuf};

use super::linux::below;

/// The least that any group of the process leaves, or `None` if none is limited.
///
/// * `groups`: `/proc/self/cgroup`
/// * `mounts`: `/proc/self/mountinfo`, or nothing
pub(super) fn left(root: &Path, groups: &str, mounts: &str) -> Option<u64> {
    let left = |(version, group): (Version, &str)| {
        folders(root, version, group, mounts).filter_map(move |folder| version.left(&folder)).min()
    };
    groups.lines().filter_map(membership).filter_map(left).min()
}

/// The two kinds of hierarchies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    /// One hierarchy for each controller, or for some of them.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The group of a line such as `4:memory:/docker/3b06` or `0::/user.slice`, if it is one that can limit memory.
fn membership(line: &str) -> Option<(Version, &str)> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
    if number == "0" && controllers.is_empty() {
        return Some((Version::V2, group));
    }
    controllers.split(',').any(|controller| controller == "memory").then_some((Version::V1, group))
}

/// The folders of a group and of all groups above it that can be seen, from the top down.
fn folders(root: &Path, version: Version, group: &str, mounts: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let mounts: Vec<Mount> = mounts.lines().filter_map(|line| Mount::parse(line, version)).collect();
    // A group that no mount shows is seen, if at all, as the first one's root.
    let shown = mounts.iter().find_map(|mount| Some((mount, Path::new(group).strip_prefix(&mount.group).ok()?)));
    let (place, rest) = match (shown, mounts.first()) {
        (Some((mount, rest)), _) => (mount.place.as_str(), rest),
        (None, Some(mount)) => (mount.place.as_str(), Path::new("")),
        (None, None) => (version.usual_place(), Path::new(group)),
    };
    let mut folder = below(root, place);
    let mut folders = vec![folder.clone()];
    for component in rest.components() {
        if let Component::Normal(name) = component {
            folder.push(name);
            folders.push(folder.clone());
        }
    }
    folders.into_iter()
}

/// A line of `mountinfo` that shows a hierarchy.
struct Mount {
    /// The group that is mounted, the root of what can be seen.
    group: String,
    /// Where.
    place: String,
}

impl Mount {
    /// `36 35 0:29 GROUP PLACE rw,relatime shared:9 - cgroup cgroup rw,memory`
    fn parse(line: &str, version: Version) -> Option<Mount> {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let (kind, mut options) = (system.next()?, system.nth(1).unwrap_or("").split(','));
        let wanted = match version {
            Version::V1 => kind == "cgroup" && options.any(|option| option == "memory"),
            Version::V2 => kind == "cgroup2",
        };
        let mut fields = mount.split(' ').skip(3).map(unescape);
        wanted.then_some(Mount { group: fields.next()?, place: fields.next()? })
    }
}

/// Spaces and their like are `\040` in `mountinfo`: three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or("").to_string();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        match code {
            Some(code) => {
                text.push(char::from(code));
                text += &part[3..];
            }
            None => {
                text.push('\\');
                text += part;
            }
        }
    }
    text
}

/// The kernel writes the largest number of whole pages for "no limit" into files of version 1.
const UNLIMITED: u64 = 1 << 62;

impl Version {
    fn usual_place(self) -> &'static str {
        match self {
            Version::V1 => "/sys/fs/cgroup/memory",
            Version::V2 => "/sys/fs/cgroup",
        }
    }

    /// What the limit of the group in this folder leaves, unless it has none. Pages of files that can be dropped are not
    /// counted as used.
    fn left(self, folder: &Path) -> Option<u64> {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let stat = read("memory.stat").unwrap_or_default();
        let (limit, used, files) = match self {
            Version::V1 => {
                // The second is that of the groups above, too, where they cannot be seen.
                let limits = [number("memory.limit_in_bytes"), entry(&stat, "hierarchical_memory_limit")];
                let limit = limits.into_iter().flatten().min().filter(|&limit| limit < UNLIMITED);
                (limit, number("memory.usage_in_bytes"), ["total_inactive_file", "total_active_file"])
            }
            // Without a limit it says `max`, which is no number.
            Version::V2 => (number("memory.max"), number("memory.current"), ["inactive_file", "active_file"]),
        };
        let files = files.iter().filter_map(|key| entry(&stat, key)).fold(0, u64::saturating_add);
        Some(limit?.saturating_sub(used.unwrap_or(0).saturating_sub(files)))
    }
}

/// The number behind `key` in lines such as `inactive_file 4096`.
fn entry(stat: &str, key: &str) -> Option<u64> {
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}
