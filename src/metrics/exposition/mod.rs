//! Writes the declared metrics as a scrape response, and as the reference document.
//!
//! ```text
//! render          one response: SeriesLimit around the sink of the format
//! series_limit    the families of the query, and the series limit of each
//! user_samples    the samples of users' managers, after the system's
//! text_format     sink: the Prometheus text format
//! openmetrics     sink: OpenMetrics, by prometheus-client
//! protobuf        sink: the protobuf format, with start timestamps
//! created_times   the start timestamps that are plausible
//! reference       sink: docs/METRICS.md
//! ```

mod created_times;
mod openmetrics;
mod protobuf;
pub mod reference;
pub mod render;
mod series_limit;
mod text_format;
mod user_samples;
