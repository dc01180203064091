//! The line that the kernel logs when it selects a process of a cgroup to kill (Linux 4.20).

/// A process that the OOM killer selected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OomKill<'l> {
    /// The unit of its cgroup.
    pub(super) unit: &'l [u8],
    /// Its pid in the initial namespace.
    pub(super) pid: u32,
}

impl<'l> OomKill<'l> {
    /// From `oom-kill:…,task_memcg=/system.slice/x.service,task=x,pid=7,uid=0`. `None` for any other
    /// text, and where the name of a cgroup makes the line ambiguous: users choose such names.
    pub(super) fn parse(line: &'l [u8]) -> Option<Self> {
        let rest = line.strip_prefix(PREFIX)?;
        let mut starts = find_all(rest, MEMCG);
        let start = starts.next()? + MEMCG.len();
        if starts.next().is_some() {
            return None;
        }
        let path = &rest[start..];
        let path = &path[..find_all(path, b",task=").next()?];
        // the name of a process may contain anything, but what follows it are numbers
        let pid = &rest[find_all(rest, b",pid=").last()? + 5..];
        let pid = pid.split(|byte| *byte == b',').next()?;
        Some(Self { unit: unit(path)?, pid: str::from_utf8(pid).ok()?.parse().ok()? })
    }
}

/// The first component that is not a slice, if it looks like a unit: cgroups below a unit's own belong
/// to the unit.
fn unit(path: &[u8]) -> Option<&[u8]> {
    let mut components = path.strip_prefix(b"/")?.split(|byte| *byte == b'/');
    let unit = components.find(|name| !name.ends_with(b".slice"))?;
    // systemd escapes names that a controller has too: _cpu.service
    let unit = unit.strip_prefix(b"_").unwrap_or(unit);
    (!unit.is_empty()).then_some(unit)
}

fn find_all<'t>(text: &'t [u8], part: &'t [u8]) -> impl Iterator<Item = usize> + 't {
    text.windows(part.len()).enumerate().filter(move |(_, at)| *at == part).map(|(at, _)| at)
}

/// The beginning of the line.
pub(super) const PREFIX: &[u8] = b"oom-kill:";

const MEMCG: &[u8] = b",task_memcg=";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<(&str, u32)> {
        let kill = OomKill::parse(line.as_bytes())?;
        Some((str::from_utf8(kill.unit).unwrap(), kill.pid))
    }

    #[test]
    fn kernel_lines_name_unit_and_pid() {
        for (line, expected) in [
            (
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
                 oom_memcg=/system.slice/x.service,task_memcg=/system.slice/x.service,task=hog,pid=7,uid=0",
                Some(("x.service", 7)),
            ),
            (
                "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,\
                 task_memcg=/a.slice/a-b.slice/_cpu.service/payload/y.service,task=hog,pid=4194304,uid=0",
                Some(("cpu.service", 4_194_304)),
            ),
            // the name of a process
            (
                "oom-kill:a,task_memcg=/system.slice/x.service,task=,pid=1,task=,pid=8,uid=1000",
                Some(("x.service", 8)),
            ),
            // a cgroup that a user named after another unit's
            (
                "oom-kill:a,oom_memcg=/u.slice/a,task_memcg=/system.slice/y.service,task=,task_memcg=/u.slice/a,task=b,pid=7,uid=1",
                None,
            ),
            (
                "oom-kill:a,task_memcg=/user.slice/user@1.service/x,task=/y.service,task=b,pid=7,uid=1",
                Some(("user@1.service", 7)),
            ),
            ("oom-kill:a,task_memcg=/system.slice,task=b,pid=7,uid=0", None),
            ("oom-kill:a,task_memcg=/,task=b,pid=7,uid=0", None),
            ("oom-kill:a,task_memcg=/system.slice/x.service,task=b,pid=-7,uid=0", None),
            ("oom-kill:a,task_memcg=/system.slice/x.service", None),
            ("oom-kill:", None),
            ("Memory cgroup out of memory: Killed process 7 (hog)", None),
        ] {
            assert_eq!(parsed(line), expected, "{line}");
        }
    }
}
