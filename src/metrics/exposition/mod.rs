//! Writing what is declared: as text, as OpenMetrics, and as the reference document.

mod encode;
mod openmetrics;
mod pieces;
pub mod reference;
pub mod render;
mod series_limit;
mod text_format;
mod user_samples;
