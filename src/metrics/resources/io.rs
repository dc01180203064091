//! Block device traffic of each unit.

use std::fmt;

use super::cgroups;
use crate::metrics::Kind::Counter;
use crate::metrics::Resets::WithUnit;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::source::cgroup::Io;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_io_read_bytes_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Bytes that the unit read from block devices. v1 on recent kernels counts only for units with an IO limit.",
            source: "cgroup io.stat rbytes; v1 blkio.throttle.io_service_bytes_recursive",
            labels: ["name"],
        },
        traffic(snapshot, |io| io.rbytes),
    )?;

    out.family(
        Family {
            name: "systemd_unit_io_write_bytes_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Bytes that the unit wrote to block devices. What the kernel writes back later counts on v2 with the memory and io controllers only. v1 on recent kernels counts only for units with an IO limit.",
            source: "cgroup io.stat wbytes; v1 blkio.throttle.io_service_bytes_recursive",
            labels: ["name"],
        },
        traffic(snapshot, |io| io.wbytes),
    )?;

    out.family(
        Family {
            name: "systemd_unit_io_read_operations_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Reads of the unit from block devices.",
            source: "cgroup io.stat rios; v1 blkio.throttle.io_serviced_recursive",
            labels: ["name"],
        },
        traffic(snapshot, |io| io.rios),
    )?;

    out.family(
        Family {
            name: "systemd_unit_io_write_operations_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Writes of the unit to block devices.",
            source: "cgroup io.stat wios; v1 blkio.throttle.io_serviced_recursive",
            labels: ["name"],
        },
        traffic(snapshot, |io| io.wios),
    )
}

fn traffic(
    snapshot: &Snapshot,
    value: impl Fn(&Io) -> u64,
) -> impl Iterator<Item = ([&str; 1], u64)> {
    cgroups(snapshot).filter_map(move |(name, _, cgroup)| Some(([name], value(&cgroup.io?))))
}
