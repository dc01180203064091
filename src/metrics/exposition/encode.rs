//! Declarations written in one of the formats.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::openmetrics::OpenMetrics;
use super::pieces::Written;
use super::render::Format;
use super::text_format::Text;
use crate::metrics::{Family, Sample, Sink};

/// What can be written.
pub(super) trait Declares: fmt::Debug + Send + Sync + 'static {
    /// Hands every family to a sink.
    fn declare(&self, sink: &mut impl Paste) -> fmt::Result;
}

/// A sink that takes lines that were written before.
pub(super) trait Paste: Sink {
    /// Takes the lines of one family, at least one, and samples to come after them.
    fn paste<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        written: &Written,
        at: usize,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result;
}

/// Writes a page; `written` has the lines that are pasted.
pub(super) fn encode(
    format: Format,
    declares: impl Declares,
    written: &Written,
) -> Result<String, fmt::Error> {
    let mut body = String::new();
    match format {
        Format::Text => declares.declare(&mut Text::new(&mut body))?,
        Format::OpenMetrics => {
            let gaps = Arc::new(Gaps::default());
            let mut registry = Registry::default();
            registry.register_collector(Box::new(Collected { declares, gaps: gaps.clone() }));
            text::encode(&mut Measured { body: &mut body, length: &gaps.length }, &registry)?;
            body = gaps.fill(body, written);
        }
    }
    Ok(body)
}

/// Where lines are to be pasted into a page that prometheus-client writes: it takes samples alone.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// How much has been written.
    length: AtomicUsize,
    /// Behind how much, and which family's.
    gaps: Mutex<Vec<(usize, usize)>>,
}

impl Gaps {
    /// Leaves a gap behind what has been written, for the lines of a family.
    pub(super) fn leave(&self, at: usize) {
        let length = self.length.load(Ordering::Relaxed);
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).push((length, at));
    }

    fn fill(&self, body: String, written: &Written) -> String {
        let gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        if gaps.is_empty() {
            return body;
        }
        let pasted = |(_, at): &(usize, usize)| written.texts(*at).map(str::len).sum::<usize>();
        let length = body.len() + gaps.iter().map(pasted).sum::<usize>();
        let mut page = String::with_capacity(length);
        let mut start = 0;
        for (end, at) in &*gaps {
            page.push_str(&body[start..*end]);
            page.extend(written.texts(*at));
            start = *end;
        }
        page.push_str(&body[start..]);
        page
    }
}

/// What prometheus-client's registry calls back.
#[derive(Debug)]
struct Collected<D> {
    declares: D,
    gaps: Arc<Gaps>,
}

impl<D: Declares> Collector for Collected<D> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.declares.declare(&mut OpenMetrics { encoder, gaps: &self.gaps })
    }
}

/// A page that says how long it is while it is being written.
struct Measured<'b> {
    body: &'b mut String,
    length: &'b AtomicUsize,
}

impl Write for Measured<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.body.push_str(text);
        self.length.store(self.body.len(), Ordering::Relaxed);
        Ok(())
    }
}
