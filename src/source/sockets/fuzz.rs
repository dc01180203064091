//! Fuzzing: netlink replies, tables in /proc, addresses and expectations.

use std::net::SocketAddr;

use super::drops::DropTotals;
use super::endpoint::{Address, Protocol};
use super::expected::Expectation;
use super::fair_limit::{FairLimit, ListenerKey, SocketId, SocketTally};
use super::netlink::{InetSocket, NetlinkMessage, UnixSocket, messages};
use super::proc_net::ProcNetRow;
use super::socket_activation::{Activation, SocketToService, SocketUnit};

/// The messages of one netlink reply.
pub(crate) fn netlink(data: &[u8]) {
    let unit = socket_unit("/run/x.sock");
    let units = [unit];
    let services = SocketToService::default();
    let activation = Activation::new(&units, &services);
    let mut listeners = FairLimit::new(3, &[]);
    let mut sockets = 0;
    for (message, _) in messages(data).flatten() {
        let NetlinkMessage::Socket(body) = message else { continue };
        if let Some(socket) = InetSocket::parse(body) {
            let mut tally =
                SocketTally::one(SocketId::Cookie(socket.cookie), socket.inode, socket.drops);
            tally.queue = Some(socket.receive_queue.into());
            tally.limit = Some(socket.send_queue.into());
            let (owner, port, address) = (socket.cgroup, socket.port, socket.address);
            assert!(!address.to_string().is_empty());
            listeners.add(ListenerKey { owner, protocol: Protocol::Tcp, port, address }, tally);
            sockets += 1;
        }
        if let Some(socket) = UnixSocket::parse(body) {
            assert!(socket.name.len() < body.len());
            if let Some((unit, path)) = activation.unix(socket.name) {
                assert_eq!((&*unit, path), ("x.socket", "/run/x.sock"));
            }
        }
    }
    let (listeners, truncated) = listeners.finish();
    assert!(listeners.len() <= 3);
    let kept: u64 = listeners.iter().map(|(_, tally)| tally.sockets).sum();
    assert_eq!(kept + truncated, sockets);
    let mut drops = DropTotals::default();
    let listeners = listeners.into_iter().map(|(key, tally)| (key.owned_by(None), tally));
    let listeners: Vec<_> = listeners.collect();
    let first = drops.add(&listeners);
    for (before, after) in first.iter().zip(drops.add(&listeners)) {
        assert!(*before <= after, "a total decreased");
    }
}

/// A row of the tables in /proc/PID/net, an address of a socket unit, an expectation.
pub(crate) fn texts(data: &[u8]) {
    for protocol in Protocol::ALL {
        let _ = ProcNetRow::parse(data, protocol);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(expectation) = text.parse::<Expectation>() {
        assert_eq!(expectation.to_string().parse(), Ok(expectation));
    }
    let units = [socket_unit(text)];
    let services = SocketToService::default();
    let activation = Activation::new(&units, &services);
    if let Ok(address) = text.parse::<SocketAddr>() {
        let (ip, port) = (Address::Ip(address.ip()), address.port());
        let owner = activation.owner(None, Protocol::Tcp, ip, port);
        assert_eq!(owner.socket_unit.as_deref(), Some("x.socket"));
    } else if let Some(name) = text.strip_prefix('@') {
        let found = activation.unix(&[b"\0", name.as_bytes()].concat());
        assert_eq!(found.map(|(_, path)| path), Some(text));
    }
}

fn socket_unit(address: &str) -> SocketUnit {
    let listen = vec![("Stream".to_owned(), address.to_owned())];
    SocketUnit { name: "x.socket".into(), active: true, listen, triggers: Vec::new() }
}
