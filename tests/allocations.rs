//! Writing a page allocates nothing per sample.

use std::sync::Arc;

use unit_exporter::metrics::{Dropped, Format, Selected, render};
use unit_exporter::profile::Profile;
use unit_exporter::selection::Selection;
use unit_exporter::snapshot::{Snapshot, Systemd};
use unit_exporter::systemd::ledger::Ledger;
use unit_exporter::systemd::mirror::{Listed, Mirror};
use unit_exporter::systemd::state::Shared;
use unit_exporter::systemd::value::word;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[test]
fn a_page_ten_times_as_long_takes_only_more_room() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let (few, few_series) = blocks(100);
    let (many, many_series) = blocks(1000);
    assert!(many_series > 8 * few_series, "{few_series} and {many_series} series");
    // the page itself grows by doubling: four times more
    assert!(many <= few + 8, "{few} blocks for {few_series} series, {many} for {many_series}");
    println!("{few} blocks for {few_series} series, {many} for {many_series}");
}

/// How many blocks were allocated to write the page of so many units, and how many series it has.
fn blocks(units: usize) -> (u64, usize) {
    let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
    let state = &mut *shared.lock();
    for number in 0..units {
        let name = format!("dev-disk\\x2d{number}.service");
        let (load_state, active_state) = (word("loaded"), word("active"));
        let listed = Listed { name, load_state, active_state, sub_state: word("running") };
        state.mirror.list(&listed);
        let unit = state.mirror.unit(&listed.name).cloned();
        state.ledger.open(&unit.expect("just listed"));
    }
    let systemd = Some(Systemd::copy(state, false));
    let snapshot = Arc::new(Snapshot { systemd, ..Snapshot::default() });
    let (without, names) = (Vec::new(), Vec::new());
    let profile = Profile::default();
    let selected = Selected { without, names, profile, series_per_family: usize::MAX };
    let dropped = Arc::new(Dropped::default());
    let before = dhat::HeapStats::get().total_blocks;
    let page = render(&snapshot, Format::Text, &selected, &dropped).expect("memory takes all");
    let after = dhat::HeapStats::get().total_blocks;
    (after - before, page.lines().filter(|line| !line.starts_with('#')).count())
}
