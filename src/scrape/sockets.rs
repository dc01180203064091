//! Reading who listens.

use std::time::Instant;

use super::Read;
use crate::scrape::blocking_source::Kept;
use crate::source::sockets::{Input, Listeners, Options, Reading, SocketUnit};
use crate::systemd::state::State;

/// Reads the listeners; what it gives may fall short of all there is, and then says why.
pub(super) async fn listeners(
    kept: &Kept<Listeners>,
    options: &Options,
    input: Input,
    deadline: Instant,
) -> Read<(Reading, Option<String>)> {
    let options = options.clone();
    let read = move |listeners: &mut Listeners| {
        let reading = listeners.read(&input, deadline)?;
        let shortfall = reading.degraded.clone();
        Ok((reading, shortfall))
    };
    kept.read(move || Ok(Listeners::new(options)), read).await
}

/// What the mirror knows that tells whose a listener is.
pub(super) fn input(state: &State) -> Input {
    let mut input = Input::default();
    for unit in state.mirror.units() {
        if let Some(control_group) = &unit.control_group {
            input.units.push((unit.name.clone(), control_group.clone()));
        }
        if let Some(socket) = unit.socket() {
            let one_a_connection = socket.accept == Some(true);
            input.sockets.push(SocketUnit {
                name: unit.name.clone(),
                active: unit.is("active"),
                listen: socket.listen.clone(),
                triggers: if one_a_connection { Vec::new() } else { socket.triggers.to_vec() },
            });
        }
        if let Some(pid) = unit.service().and_then(|service| service.main_pid) {
            input.main_pids.push((unit.name.clone(), pid));
        }
    }
    input
}
