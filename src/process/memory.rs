//! Memory of the control group that the process runs in: what is in use, and the most that there may be (cgroups(7)).

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// A group that has no limit says a number like this, or `max`.
const NONE: u64 = 1 << 60;

/// Bytes that processes of the group use, without what the kernel keeps of files, and those that it allows; of the groups that it is in
/// the fullest counts. `None` where there is no limit, or nobody says.
pub(crate) fn used_of_limit() -> Option<(u64, u64)> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    let all = groups.lines().filter_map(Group::of);
    all.filter_map(|group| group.fullest())
        .max_by_key(per_mille)
}

fn per_mille((used, most): &(u64, u64)) -> u64 {
    used.saturating_mul(1000) / most.max(&1)
}

/// A line of `/proc/self/cgroup`, of version 2 or of the controller `memory` of version 1.
struct Group {
    root: &'static str,
    path: PathBuf,
    most: &'static str,
    used: &'static str,
}

impl Group {
    fn of(line: &str) -> Option<Group> {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = PathBuf::from(path.strip_prefix('/')?);
        if controllers.split(',').any(|one| one == "memory") {
            return Some(Group {
                root: "/sys/fs/cgroup/memory",
                path,
                most: "memory.limit_in_bytes",
                used: "total_rss ",
            });
        }
        (number == "0").then_some(Group {
            root: "/sys/fs/cgroup",
            path,
            most: "memory.max",
            used: "anon ",
        })
    }

    fn fullest(&self) -> Option<(u64, u64)> {
        let groups = self.path.ancestors();
        let limited = groups.filter_map(|group| {
            let place = Path::new(self.root).join(group);
            let most = read_to_string(place.join(self.most)).ok()?;
            let most = most.trim().parse().ok().filter(|most| *most < NONE)?;
            Some((self.used(&place)?, most))
        });
        limited.max_by_key(per_mille)
    }

    fn used(&self, place: &Path) -> Option<u64> {
        let text = read_to_string(place.join("memory.stat")).ok()?;
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(self.used)?.trim().parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_either_version() {
        for (line, place) in [
            (
                "0::/system.slice/tidegate.service",
                Some(("/sys/fs/cgroup", "system.slice/tidegate.service")),
            ),
            ("4:memory:/a/b", Some(("/sys/fs/cgroup/memory", "a/b"))),
            ("7:cpu,memory:/a:b", Some(("/sys/fs/cgroup/memory", "a:b"))),
            ("9:name=systemd:/", None),
            ("1:cpu:/a", None),
            ("nonsense", None),
        ] {
            let group = Group::of(line);
            let found = group
                .as_ref()
                .map(|one| (one.root, one.path.to_str().unwrap()));
            assert_eq!(found, place, "{line}");
        }
    }
}
