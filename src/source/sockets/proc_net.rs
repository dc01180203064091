//! The tables in /proc/PID/net: what they tell of listeners where sock_diag cannot.
//!
//! Kernel reference: Documentation/networking/proc_net_tcp.rst. They name no cgroup, no queue's
//! limit and no drops of TCP, and cost a hundred times as much.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;

use super::endpoint::{Address, Protocol};
use super::fair_limit::{Gathered, Identity, Key, Tally};
use super::filter::Wanted;
use crate::source::Error;

/// The listeners in a table, for which `nobody` stands as the owner. `None` if the process is gone
/// whose network namespace it tells of, or the kernel lacks the protocol.
pub(super) fn listeners<'a, O: Ord>(
    path: &Path,
    protocol: Protocol,
    wanted: &'a Wanted,
    nobody: impl Fn() -> O,
    deadline: Instant,
) -> Result<Option<Gathered<'a, O>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let mut file = BufReader::with_capacity(32 * 1024, file);
    let mut gathered = wanted.dumped();
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
        let row = Row::parse(&line, protocol).ok_or_else(|| Error::malformed(path, &line))?;
        if row.listens && wanted.wants(protocol, row.port) {
            let mut tally = Tally::one(Identity::Inode(row.inode), row.drops);
            tally.queue = row.queue.map(u64::from);
            let (port, address) = (row.port, row.address);
            gathered.add(Key { owner: nobody(), protocol, port, address }, tally);
        }
    }
    Ok(Some(gathered))
}

/// A socket as a table tells of it.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    address: Address,
    port: u16,
    listens: bool,
    /// TCP: connections that wait for accept(), if it listens.
    queue: Option<u32>,
    inode: u64,
    /// UDP: datagrams dropped.
    drops: Option<u32>,
}

impl Row {
    pub(super) fn parse(line: &[u8], protocol: Protocol) -> Option<Self> {
        let fields: Vec<&str> = str::from_utf8(line).ok()?.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        let address = match protocol.is_v6() {
            false => Address::Ip(IpAddr::V4(Ipv4Addr::from(words::<1, 4>(address)?))),
            true => match Ipv6Addr::from(words::<4, 16>(address)?) {
                // The table does not tell whether IPV6_V6ONLY is set; mostly it is not.
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

/// The bytes of an address, which is written as 32-bit numbers of the host's byte order.
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
    fn a_row_tells_address_state_and_queue() {
        let tcp = b"   1: 0100007F:1F90 00000000:0000 0A 00000000:00000005 00:00000000 00000000  1000        0 50123 1 0000000000000000 100 0 0 10 0";
        assert_eq!(
            Row::parse(tcp, Protocol::Tcp),
            Some(Row {
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
            Row::parse(udp6, Protocol::Udp6),
            Some(Row {
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
    fn a_row_cut_off_anywhere_is_refused() {
        let row = "1: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 5";
        assert!(Row::parse(row.as_bytes(), Protocol::Tcp).is_some());
        for end in 0..row.len() {
            assert_eq!(Row::parse(&row.as_bytes()[..end], Protocol::Tcp), None, "{end}");
        }
        for row in
            ["é: 0100é07F:1F90 0 0A 0:0 0 0 0 0 5", "1: 0100007F0100007F:1 0 0A 0:0 0 0 0 0 5"]
        {
            assert_eq!(Row::parse(row.as_bytes(), Protocol::Tcp), None, "{row}");
        }
    }
}
