//! Rendering a scrape response allocates per chunk of units, not per sample.

use std::sync::Arc;

use unit_exporter::collector::Profile;
use unit_exporter::metrics::{Format, MetricsQuery, RenderState, render};
use unit_exporter::snapshot::Snapshot;
use unit_exporter::systemd::ledger::Ledger;
use unit_exporter::systemd::mirror::{ListedUnit, Mirror};
use unit_exporter::systemd::snapshot::SystemdSnapshot;
use unit_exporter::systemd::state::Shared;
use unit_exporter::systemd::unit::value::intern;
use unit_exporter::unit_filter::Selection;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[test]
fn rendering_allocates_per_chunk_not_per_sample() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let [few, many] = [100, 1000].map(blocks);
    println!("{few:?}, {many:?}");
    assert!(many.series > 8 * few.series);
    // the output buffer and the list of chunks grow by doubling, four times more
    assert!(many.again <= few.again + 12);
    // a chunk is 64 units, or the counters of 64 units
    let chunks = 2 * (1000 - 100_u64).div_ceil(64);
    assert!(many.first <= few.first + 12 + chunks * MAX_BLOCKS_PER_CHUNK);
}

/// Blocks allocated while rendering the first response and the next one.
#[derive(Debug)]
struct Blocks {
    series: usize,
    first: u64,
    again: u64,
}

/// Its part of the snapshot, of the response and of the cache.
const MAX_BLOCKS_PER_CHUNK: u64 = 50;

fn blocks(units: usize) -> Blocks {
    let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
    let state = &mut *shared.lock();
    for number in 0..units {
        let name = format!("dev-disk\\x2d{number}.service");
        let (load_state, active_state) = (intern("loaded"), intern("active"));
        let listed = ListedUnit { name, load_state, active_state, sub_state: intern("running") };
        state.mirror.list(&listed);
        let unit = state.mirror.unit(&listed.name).cloned();
        state.ledger.open(&unit.expect("just listed"));
    }
    let systemd = Some(SystemdSnapshot::copy(state, false));
    let snapshot = Arc::new(Snapshot { systemd, ..Snapshot::default() });
    let (without, names) = (Vec::new(), Vec::new());
    let metrics = Profile::default().into();
    let selected = MetricsQuery {
        without,
        names,
        metrics,
        max_series: usize::MAX,
        max_family_series: usize::MAX,
    };
    let remembered = Arc::new(RenderState::default());
    let write = || {
        let before = dhat::HeapStats::get().total_blocks;
        let page = render(&snapshot, Format::Text, &selected, &remembered);
        (
            dhat::HeapStats::get().total_blocks - before,
            String::from_utf8(page.expect("written to memory")).expect("UTF-8"),
        )
    };
    let (first, page) = write();
    let (again, same) = write();
    assert_eq!(page, same);
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    Blocks { series, first, again }
}
