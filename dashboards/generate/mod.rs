//! The dashboards as Grafana reads them, generated so that no metric in them can be misspelt.
//!
//! ```text
//! pages/     one file a dashboard: which questions, which panels
//! page       rows, the grid, variables, annotations and links that all share
//! panel      the kinds of panel, with the style that all share
//! table      tables: one column an expression
//! style      one colour for each state, cause and resource
//! query      metrics by their declared names, the selectors of hosts put in
//! grafana    Grafana's JSON, as much of it as is used
//! ```

pub(crate) mod grafana;
mod page;
mod pages;
mod panel;
mod query;
mod style;
mod table;

use grafana::Dashboard;

/// Every dashboard, in the order in which they are read.
pub(crate) fn all() -> Vec<Dashboard> {
    vec![
        pages::fleet::page(),
        pages::host::page(),
        pages::unit::page(),
        pages::crashes::page(),
        pages::listeners::page(),
        pages::timers::page(),
        pages::boot::page(),
        pages::exporter::page(),
    ]
}
