//! Reads the listening sockets.

use std::sync::Arc;
use std::time::Instant;

use super::Read;
use crate::scrape::blocking_source::BlockingSource;
use crate::source::sockets::{
    Expectation, ListenerInput, ListenerReading, Listeners, SocketOptions, SocketUnit,
};
use crate::systemd::state::State;

/// Reads the listeners; a reading that is incomplete has the reason beside it.
pub(super) async fn listeners(
    kept: &BlockingSource<Listeners>,
    options: &SocketOptions,
    expected: Vec<Arc<Expectation>>,
    input: ListenerInput,
    deadline: Instant,
) -> Read<(ListenerReading, Option<String>)> {
    let options = options.clone();
    let read = move |listeners: &mut Listeners| {
        listeners.expect(expected);
        let reading = listeners.read(&input, deadline)?;
        let shortfall = reading.degraded.clone();
        Ok((reading, shortfall))
    };
    kept.read(move || Ok(Listeners::new(options)), read).await
}

/// The units of the mirror, for the owners of listeners.
pub(super) fn input(state: &State, expected: &[Arc<Expectation>]) -> ListenerInput {
    let is_listed = state.status.filled;
    let mut input = ListenerInput { is_listed, ..ListenerInput::default() };
    for Expectation { unit, .. } in expected.iter().map(|expected| &**expected) {
        let named = state.mirror.find(unit).filter(|named| named.name != *unit);
        input.primary.extend(named.map(|named| (unit.clone(), named.name.clone())));
    }
    for unit in state.mirror.units() {
        if let Some(control_group) = &unit.control_group {
            input.units.push((unit.exported_name().clone(), control_group.clone()));
        }
        if let Some(socket) = unit.socket() {
            let one_per_connection = socket.accept == Some(true);
            // a hidden service: the listener belongs to the socket unit
            let is_shown = |name: &&Arc<str>| !state.mirror.selection().excludes(name);
            let triggers = socket.triggers.iter().filter(|_| !one_per_connection).filter(is_shown);
            input.sockets.push(SocketUnit {
                name: unit.name.clone(),
                active: unit.is("active"),
                listen: socket.listen.clone(),
                triggers: triggers.cloned().collect(),
            });
        }
    }
    input
}
