//! The generator of Grafana's dashboards. A metric name that the exporter does not declare fails the generation.
//!
//! ```text
//! dashboards/  one file per dashboard: its rows and panels
//! builder      rows, the grid, and the variables, annotations and links of all dashboards
//! panel        the panel types in the style of all dashboards
//! table        tables: one column per expression
//! style        the color of each state, cause and resource
//! query        PromQL with the selectors of job and instance added
//! grafana      the subset of Grafana's JSON model that the dashboards use
//! ```

mod builder;
mod dashboards;
pub(crate) mod grafana;
mod panel;
mod query;
mod style;
mod table;

use grafana::Dashboard;

/// All dashboards, from the fleet down to the exporter.
pub(crate) fn all() -> Vec<Dashboard> {
    vec![
        dashboards::fleet::dashboard(),
        dashboards::host::dashboard(),
        dashboards::unit::dashboard(),
        dashboards::crashes::dashboard(),
        dashboards::workers::dashboard(),
        dashboards::listeners::dashboard(),
        dashboards::timers::dashboard(),
        dashboards::boot::dashboard(),
        dashboards::exporter::dashboard(),
    ]
}
