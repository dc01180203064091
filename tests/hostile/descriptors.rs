//! File descriptors in messages: the last close of one may take hours, so no connection accepts any.

use std::io::pipe;
use std::time::Duration;

use futures_util::StreamExt;
use zbus::message::{Message, Type};
use zbus::{Fd, MessageStream};

use crate::bus::{BUS, runtime};
use crate::rogue_bus::{connect, connections_of};
use crate::support::Machine;

#[test]
fn bus_delivers_no_descriptor_to_any_connection() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&["--collector.logind"]);
    exporter.scrape();
    let names = connections_of(&machine, &exporter);
    assert_eq!(names.len(), 2, "one for systemd and one for other daemons");
    runtime().block_on(async {
        let connection = connect(&machine, BUS, 65534).await;
        let mut replies = MessageStream::from(&connection);
        for name in names {
            let (_, attached) = pipe().expect("a pipe");
            let signal = Message::signal("/org/freedesktop/systemd1", "a.b", "C");
            let signal = signal.destination(&*name).build(&Fd::from(&attached)).expect("a signal");
            connection.send(&signal).await.expect("sending a signal");
            let serial = signal.primary_header().serial_num();
            let refused = async {
                while let Some(Ok(reply)) = replies.next().await {
                    if reply.header().reply_serial() == Some(serial) {
                        return reply.message_type() == Type::Error;
                    }
                }
                false
            };
            let refused = tokio::time::timeout(Duration::from_secs(10), refused).await;
            assert_eq!(refused, Ok(true), "the bus delivered a descriptor to {name}");
        }
    });
}
