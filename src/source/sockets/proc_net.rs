//! The tables in /proc/PID/net: listeners where sock_diag is unavailable.
//!
//! Kernel reference: Documentation/networking/proc_net_tcp.rst. The tables have no cgroup, no limit of
//! the accept queue and no drops of TCP, and cost a hundred times as much as sock_diag.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;

use super::endpoint::{Address, Protocol};
use super::fair_limit::{FairLimit, ListenerKey, SocketId, SocketTally};
use super::filter::ListenerFilter;
use crate::source::Error;

/// The listeners in a table, with `no_owner` as their owner. `None` if the process of the network
/// namespace has exited, or if the kernel lacks the protocol.
pub(super) fn listeners<'a, O: Ord>(
    path: &Path,
    protocol: Protocol,
    filter: &'a ListenerFilter,
    no_owner: impl Fn() -> O,
    deadline: Instant,
) -> Result<Option<FairLimit<'a, O>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let mut file = BufReader::with_capacity(32 * 1024, file);
    let mut listeners = filter.dump_limit();
    let mut line = Vec::new();
    for number in 0_usize.. {
        line.clear();
        match file.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(Error::io(path)(error)),
        }
        if number == 0 {
            continue;
        }
        if Instant::now() >= deadline {
            return Err(Error::Late);
        }
        let row =
            ProcNetRow::parse(&line, protocol).ok_or_else(|| Error::malformed(path, &line))?;
        let identity = SocketId::Inode(row.inode);
        if row.listens && filter.accepts(protocol, row.port, identity) {
            let mut tally = SocketTally::one(identity, row.inode, row.drops);
            tally.queue = row.queue.map(u64::from);
            let (port, address) = (row.port, row.address);
            listeners.add(ListenerKey { owner: no_owner(), protocol, port, address }, tally);
        }
    }
    Ok(Some(listeners))
}

/// A row of a table: one socket.
#[derive(Debug, PartialEq)]
pub(super) struct ProcNetRow {
    address: Address,
    port: u16,
    listens: bool,
    /// TCP: the connections in the accept queue of a listening socket.
    queue: Option<u32>,
    inode: u64,
    /// UDP: datagrams dropped.
    drops: Option<u32>,
}

impl ProcNetRow {
    pub(super) fn parse(line: &[u8], protocol: Protocol) -> Option<Self> {
        let fields: Vec<&str> = str::from_utf8(line).ok()?.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        let address = match protocol.is_v6() {
            false => Address::Ip(IpAddr::V4(Ipv4Addr::from(words::<1, 4>(address)?))),
            true => match Ipv6Addr::from(words::<4, 16>(address)?) {
                // The table does not have IPV6_V6ONLY, which is mostly unset.
                Ipv6Addr::UNSPECIFIED => Address::Any,
                ip => Address::Ip(IpAddr::V6(ip)),
            },
        };
        let (_, receive_queue) = fields.get(4)?.split_once(':')?;
        let state = *fields.get(3)?;
        let udp = protocol.is_udp();
        Some(Self {
            address,
            port: u16::from_str_radix(port, 16).ok()?,
            listens: state == if udp { CLOSE } else { LISTEN },
            queue: if udp { None } else { Some(u32::from_str_radix(receive_queue, 16).ok()?) },
            inode: fields.get(9)?.parse().ok()?,
            drops: if udp { Some(fields.get(12)?.parse().ok()?) } else { None },
        })
    }
}

/// The bytes of an address, written as 32-bit numbers in the host's byte order.
fn words<const WORDS: usize, const BYTES: usize>(hex: &str) -> Option<[u8; BYTES]> {
    if hex.len() != WORDS * 8 {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (at, word) in bytes.chunks_exact_mut(4).enumerate() {
        let number = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        word.copy_from_slice(&number.to_ne_bytes());
    }
    Some(bytes)
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || matches!(Errno::from_io_error(error), Some(Errno::SRCH | Errno::INVAL))
}

const LISTEN: &str = "0A";
const CLOSE: &str = "07";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_has_address_state_and_queue() {
        let tcp = b"   1: 0100007F:1F90 00000000:0000 0A 00000000:00000005 00:00000000 00000000  1000        0 50123 1 0000000000000000 100 0 0 10 0";
        assert_eq!(
            ProcNetRow::parse(tcp, Protocol::Tcp),
            Some(ProcNetRow {
                address: Address::Ip(Ipv4Addr::LOCALHOST.into()),
                port: 8080,
                listens: true,
                queue: Some(5),
                inode: 50123,
                drops: None,
            })
        );
        let udp6 = b" 9: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 77 2 0000000000000000 12";
        assert_eq!(
            ProcNetRow::parse(udp6, Protocol::Udp6),
            Some(ProcNetRow {
                address: Address::Ip(Ipv6Addr::LOCALHOST.into()),
                port: 53,
                listens: true,
                queue: None,
                inode: 77,
                drops: Some(12),
            })
        );
    }

    #[test]
    fn truncated_row_is_rejected() {
        let row = "1: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 5";
        assert!(ProcNetRow::parse(row.as_bytes(), Protocol::Tcp).is_some());
        for end in 0..row.len() {
            assert_eq!(ProcNetRow::parse(&row.as_bytes()[..end], Protocol::Tcp), None, "{end}");
        }
        for row in
            ["é: 0100é07F:1F90 0 0A 0:0 0 0 0 0 5", "1: 0100007F0100007F:1 0 0A 0:0 0 0 0 0 5"]
        {
            assert_eq!(ProcNetRow::parse(row.as_bytes(), Protocol::Tcp), None, "{row}");
        }
    }
}
