//! The messages of `NETLINK_SOCK_DIAG`: requests and replies.
//!
//! Kernel reference: sock_diag(7), linux/inet_diag.h, linux/unix_diag.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::endpoint::{Address, Protocol};

/// A request for every socket of `protocol` whose state is among `states`, a set of bits.
pub(super) fn inet_request(protocol: Protocol, states: u32) -> Vec<u8> {
    let family = if protocol.is_v6() { AF_INET6 } else { AF_INET };
    let transport = if protocol.is_udp() { IPPROTO_UDP } else { IPPROTO_TCP };
    let mut body = vec![family, transport, 1 << (INET_DIAG_SKMEMINFO - 1), 0];
    body.extend(states.to_ne_bytes());
    body.extend([0; INET_SOCKID]);
    request(&body)
}

/// A request for every listening unix socket.
pub(super) fn unix_request() -> Vec<u8> {
    let mut body = vec![AF_UNIX, 0, 0, 0];
    body.extend(LISTEN.to_ne_bytes());
    body.extend(0_u32.to_ne_bytes());
    body.extend((UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN).to_ne_bytes());
    body.extend([0; 8]);
    request(&body)
}

fn request(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// One message of a reply.
#[derive(Debug, PartialEq)]
pub(super) enum NetlinkMessage<'a> {
    /// A socket's data.
    Socket(&'a [u8]),
    /// The dump is complete, or failed with this errno.
    End(Option<i32>),
}

/// The messages of one recv(), each with whether the dump may be inconsistent. A truncated message
/// is `None`, and the last.
pub(super) fn messages(
    mut bytes: &[u8],
) -> impl Iterator<Item = Option<(NetlinkMessage<'_>, bool)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let message = split_message(&mut bytes);
        if message.is_none() {
            bytes = &[];
        }
        Some(message)
    })
}

fn split_message<'a>(bytes: &mut &'a [u8]) -> Option<(NetlinkMessage<'a>, bool)> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let body = bytes.get(HEADER..length)?;
    let interrupted = u16_at(bytes, 6)? & NLM_F_DUMP_INTR != 0;
    let message = match u16_at(bytes, 4)? {
        NLMSG_ERROR | NLMSG_DONE => {
            let code = i32::from_ne_bytes(array_at(body, 0)?);
            NetlinkMessage::End((code < 0).then(|| code.saturating_neg()))
        }
        _ => NetlinkMessage::Socket(body),
    };
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((message, interrupted))
}

/// An inet socket in a reply of sock_diag.
#[derive(Debug, PartialEq)]
pub(super) struct InetSocket {
    /// TCP state; UDP sockets that are bound and not connected are in `CLOSE`.
    pub(super) state: u8,
    pub(super) address: Address,
    pub(super) port: u16,
    /// Unique among all sockets of this boot.
    pub(super) cookie: u64,
    /// Of a listening socket the connections in the accept queue; else bytes.
    pub(super) receive_queue: u32,
    /// Of a listening socket the limit of the accept queue; else bytes.
    pub(super) send_queue: u32,
    /// The inode number of the cgroup that the socket was made in; Linux ≥ 5.8.
    pub(super) cgroup: Option<u64>,
    /// The inode number of the socket; 0 for a socket of the kernel.
    pub(super) inode: u64,
    /// Connections or datagrams dropped by this socket.
    pub(super) drops: Option<u32>,
}

impl InetSocket {
    /// `None` if the layout is not as documented.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let interface = u32_at(body, 40)?;
        let ip = match *body.first()? {
            AF_INET => IpAddr::V4(Ipv4Addr::from(array_at::<4>(body, 8)?)),
            AF_INET6 => IpAddr::V6(Ipv6Addr::from(array_at::<16>(body, 8)?)),
            _ => return None,
        };
        let mut socket = Self {
            state: *body.get(1)?,
            address: match ip {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => Address::Link(ip, interface),
                ip => Address::Ip(ip),
            },
            port: u16::from_be_bytes(array_at(body, 4)?),
            cookie: u64::from_ne_bytes(array_at(body, 44)?),
            receive_queue: u32_at(body, 56)?,
            send_queue: u32_at(body, 60)?,
            inode: u32_at(body, 68)?.into(),
            cgroup: None,
            drops: None,
        };
        let mut v6only = None;
        for attribute in attributes(body.get(INET_BODY..)?) {
            let (kind, value) = attribute?;
            match kind {
                INET_DIAG_CGROUP_ID => {
                    socket.cgroup = Some(u64::from_ne_bytes(array_at(value, 0)?))
                }
                INET_DIAG_SKMEMINFO => socket.drops = u32_at(value, SK_MEMINFO_DROPS),
                INET_DIAG_SKV6ONLY => v6only = value.first().map(|only| *only != 0),
                _ => {}
            }
        }
        if ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && v6only == Some(false) {
            socket.address = Address::Any;
        }
        Some(socket)
    }
}

/// A listening unix socket.
#[derive(Debug, PartialEq)]
pub(super) struct UnixSocket<'a> {
    /// Its path; an abstract name begins with a zero byte. Empty if it has none.
    pub(super) name: &'a [u8],
    /// Connections in the accept queue.
    pub(super) queue: u32,
    /// The limit of the accept queue.
    pub(super) limit: u32,
}

impl<'a> UnixSocket<'a> {
    /// `None` if the layout is not as documented.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut socket = Self { name: &[], queue: 0, limit: 0 };
        for attribute in attributes(body.get(UNIX_BODY..)?) {
            let (kind, value) = attribute?;
            match kind {
                UNIX_DIAG_NAME => socket.name = value,
                UNIX_DIAG_RQLEN => {
                    (socket.queue, socket.limit) = (u32_at(value, 0)?, u32_at(value, 4)?);
                }
                _ => {}
            }
        }
        if let (Some(1..), Some(path)) = (socket.name.first(), socket.name.strip_suffix(&[0])) {
            socket.name = path;
        }
        Some(socket)
    }
}

/// A message's attributes: kind and value; a truncated one is `None`, and the last.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let attribute = split_attribute(&mut bytes);
        if attribute.is_none() {
            bytes = &[];
        }
        Some(attribute)
    })
}

fn split_attribute<'a>(bytes: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = usize::from(u16_at(bytes, 0)?);
    let value = bytes.get(4..length)?;
    let kind = u16_at(bytes, 2)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_ne_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// The bits of states in a request.
pub(super) const LISTEN: u32 = 1 << 10;
/// For UDP: bound and not connected.
pub(super) const CLOSE: u32 = 1 << 7;

const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Sizes of struct nlmsghdr, inet_diag_sockid, inet_diag_msg and unix_diag_msg.
const HEADER: usize = 16;
const INET_SOCKID: usize = 48;
const INET_BODY: usize = 72;
const UNIX_BODY: usize = 16;

const INET_DIAG_SKMEMINFO: u16 = 7;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_CGROUP_ID: u16 = 21;
/// The offset of the drops in an array of nine u32.
const SK_MEMINFO_DROPS: usize = 8 * 4;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_RQLEN: u16 = 4;
const UDIAG_SHOW_NAME: u32 = 0x01;
const UDIAG_SHOW_RQLEN: u32 = 0x10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn request_has_the_kernels_layout() {
        let request = inet_request(Protocol::Tcp6, LISTEN);
        assert_eq!(request.len(), 72);
        assert_eq!(request[..8], [72, 0, 0, 0, 20, 0, 1, 3]);
        assert_eq!(request[16..24], [AF_INET6, IPPROTO_TCP, 0x40, 0, 0, 4, 0, 0]);
        assert_eq!(unix_request().len(), 40);
    }

    #[test]
    fn parses_listening_socket() {
        let socket = InetSocket::parse(&listening(AF_INET6, [0; 16], true)).unwrap();
        let expected = InetSocket {
            state: 10,
            address: Address::Any,
            port: 6001,
            cookie: 77,
            receive_queue: 3,
            send_queue: 128,
            inode: 4711,
            cgroup: Some(0x1_0000_1234),
            drops: Some(9),
        };
        assert_eq!(socket, expected);
        let socket = InetSocket::parse(&listening(AF_INET6, [0; 16], false)).unwrap();
        assert_eq!(socket.address, Address::Ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
    }

    #[test]
    fn parses_address_by_family() {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[127, 0, 0, 1]);
        let socket = InetSocket::parse(&listening(AF_INET, address, true)).unwrap();
        assert_eq!(socket.address, Address::Ip(Ipv4Addr::LOCALHOST.into()));
        address[..4].copy_from_slice(&[0xfe, 0x80, 0, 0]);
        let socket = InetSocket::parse(&listening(AF_INET6, address, true)).unwrap();
        assert_eq!(socket.address.to_string(), "fe80::%5");
        assert_eq!(InetSocket::parse(&listening(1, address, true)), None);
    }

    #[test]
    fn dump_ends_with_done_or_an_error() {
        let socket = message(20, NLM_F_DUMP_INTR, b"12345");
        let done = message(3, 0, &0_i32.to_ne_bytes());
        let refused = message(2, 0, &(-2_i32).to_ne_bytes());
        let read = |bytes: &[u8]| {
            messages(bytes).map(|m| m.map(|(m, i)| (format!("{m:?}"), i))).collect::<Vec<_>>()
        };
        assert_eq!(
            read(&[socket.clone(), done].concat()),
            [
                Some(("Socket([49, 50, 51, 52, 53])".into(), true)),
                Some(("End(None)".into(), false))
            ]
        );
        assert_eq!(read(&refused), [Some(("End(Some(2))".into(), false))]);
        assert_eq!(read(&socket[..18]), [None]);
        assert_eq!(read(&[0; 16]), [None]);
    }

    #[test]
    fn parses_name_and_queue_of_unix_listener() {
        let mut body = vec![0; UNIX_BODY];
        body.extend(attribute(UNIX_DIAG_NAME, b"/run/x\0"));
        body.extend(attribute(UNIX_DIAG_RQLEN, &[1, 0, 0, 0, 5, 0, 0, 0]));
        let socket = UnixSocket::parse(&body).unwrap();
        assert_eq!(socket, UnixSocket { name: b"/run/x", queue: 1, limit: 5 });
        let mut body = vec![0; UNIX_BODY];
        body.extend(attribute(UNIX_DIAG_NAME, b"\0abstract\0"));
        assert_eq!(UnixSocket::parse(&body).unwrap().name, b"\0abstract\0");
    }

    proptest! {
        #[test]
        fn parses_any_bytes_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for message in messages(&bytes).flatten() {
                if let (NetlinkMessage::Socket(body), _) = message {
                    InetSocket::parse(body);
                }
            }
            InetSocket::parse(&bytes);
            UnixSocket::parse(&bytes);
        }

        #[test]
        fn parses_truncated_socket_without_panic(end in 0_usize..200) {
            let body = listening(AF_INET6, [0; 16], true);
            InetSocket::parse(&body[..end.min(body.len())]);
        }
    }

    fn listening(family: u8, address: [u8; 16], both_families: bool) -> Vec<u8> {
        let mut body = vec![family, 10, 0, 0];
        body.extend(6001_u16.to_be_bytes());
        body.extend([0; 2]);
        body.extend(address);
        body.extend([0; 16]);
        body.extend(5_u32.to_ne_bytes());
        body.extend(77_u64.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(3_u32.to_ne_bytes());
        body.extend(128_u32.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(4711_u32.to_ne_bytes());
        assert_eq!(body.len(), INET_BODY);
        let mut memory = [0; 36];
        memory[SK_MEMINFO_DROPS] = 9;
        body.extend(attribute(INET_DIAG_SKMEMINFO, &memory));
        body.extend(attribute(INET_DIAG_SKV6ONLY, &[u8::from(!both_families)]));
        body.extend(attribute(INET_DIAG_CGROUP_ID, &0x1_0000_1234_u64.to_ne_bytes()));
        body
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        attribute.extend(value);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        attribute
    }

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut message = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }
}
