//! The framing of a bus: one line of the handshake, then messages. zbus allocates as many bytes as
//! the start of a message announces, and the other end of a connection may be any program.

use std::io;

use tracing::warn;

/// Follows the bytes of a bus.
///
/// A message beyond the limit is passed on without its body: decoding fails, and the connection
/// stays usable. If its header alone is too long, the message is skipped.
#[derive(Debug)]
pub(super) struct Framing {
    /// The maximum length of a message.
    max_message: u64,
    place: Place,
    has_warned: bool,
}

#[derive(Debug)]
enum Place {
    /// In the first line, with its length so far and its last byte.
    Handshake { length: usize, last: u8 },
    /// In the start of a message, which announces its length.
    Start(Vec<u8>),
    /// In the rest of a message: bytes to pass on, and bytes to skip after those.
    Rest { pass: u64, skip: u64 },
}

impl Framing {
    pub(super) fn new(max_message: u64) -> Self {
        let place = Place::Handshake { length: 0, last: 0 };
        Self { max_message, place, has_warned: false }
    }

    /// Appends the bytes to pass on; at most [`START`] more than those of `input`.
    ///
    /// # Errors
    /// The bytes are not those of a bus.
    pub(super) fn filter(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while let Some(first) = input.first() {
            match &mut self.place {
                Place::Handshake { length, last } => {
                    *length += 1;
                    // zbus panics on a line without its first end-of-line byte
                    if *length > MAX_LINE || (*first == b'\n' && *last != b'\r') {
                        return Err(invalid("the reply to the handshake is not one line"));
                    }
                    *last = *first;
                    out.push(*first);
                    input = &input[1..];
                    if *last == b'\n' {
                        self.place = Place::Start(Vec::with_capacity(START));
                    }
                }
                Place::Start(start) => {
                    let (now, later) = input.split_at(input.len().min(START - start.len()));
                    start.extend_from_slice(now);
                    input = later;
                    if start.len() == START {
                        let start = std::mem::take(start);
                        self.place = self.begin(start, out)?;
                    }
                }
                Place::Rest { pass, skip } => {
                    out.extend_from_slice(take(&mut input, pass));
                    take(&mut input, skip);
                    if *pass + *skip == 0 {
                        self.place = Place::Start(Vec::with_capacity(START));
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins a message with the start of its header.
    fn begin(&mut self, mut start: Vec<u8>, out: &mut Vec<u8>) -> io::Result<Place> {
        let number = |at: usize| {
            let bytes = start[at..at + 4].try_into().unwrap_or_default();
            match start[0] {
                b'l' => Ok(u64::from(u32::from_le_bytes(bytes))),
                b'B' => Ok(u64::from(u32::from_be_bytes(bytes))),
                _ => Err(invalid("not a D-Bus message")),
            }
        };
        let (body, fields) = (number(BODY_LENGTH)?, number(FIELDS_LENGTH)?.next_multiple_of(8));
        if START as u64 + fields + body <= self.max_message {
            out.extend_from_slice(&start);
            return Ok(Place::Rest { pass: fields + body, skip: 0 });
        }
        if !std::mem::replace(&mut self.has_warned, true) {
            let limit = self.max_message;
            warn!(bytes = body + fields, limit, "D-Bus message is too long; skipping its body");
        }
        if fields > MAX_FIELDS {
            return Ok(Place::Rest { pass: 0, skip: fields + body });
        }
        start[BODY_LENGTH..BODY_LENGTH + 4].fill(0);
        out.extend_from_slice(&start);
        Ok(Place::Rest { pass: fields, skip: body })
    }
}

/// Takes up to `count` bytes off the input, and subtracts them.
fn take<'i>(input: &mut &'i [u8], count: &mut u64) -> &'i [u8] {
    let length = usize::try_from(*count).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at(length);
    *input = rest;
    *count -= length as u64;
    taken
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The part of a message with the lengths of its two other parts, which are at these offsets.
pub(super) const START: usize = 16;
const BODY_LENGTH: usize = 4;
const FIELDS_LENGTH: usize = 12;

/// The bus sends `OK`, and an id of 32 characters.
const MAX_LINE: usize = 512;

/// Header fields are a path, names and a signature; those of systemd take 300 bytes.
const MAX_FIELDS: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use zbus::message::Message;

    use super::*;

    fn filtered(framing: &mut Framing, input: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        framing.filter(input, &mut out).map(|()| out)
    }

    fn signal(path: &str, body: &str) -> Vec<u8> {
        let signal = Message::signal(path, "a.b", "C").build(&body).unwrap();
        signal.data().to_vec()
    }

    #[test]
    fn messages_within_the_limit_pass_unchanged() {
        let messages =
            [signal("/", ""), signal("/a", "some text"), signal("/", &"x".repeat(900))].concat();
        let stream = [b"OK 0123\r\n".as_slice(), &messages].concat();
        for chunk in [1, 2, 15, 16, 17, stream.len()] {
            let mut framing = Framing::new(1024);
            let chunks = stream.chunks(chunk);
            let passed: Vec<u8> =
                chunks.flat_map(|chunk| filtered(&mut framing, chunk).unwrap()).collect();
            assert_eq!(passed, stream, "in chunks of {chunk}");
        }
    }

    #[test]
    fn long_messages_lose_their_body_or_are_skipped() {
        let long_path = format!("/{}", "p".repeat(20_000));
        let [before, long, skipped, after] = [
            signal("/", "before"),
            signal("/", &"x".repeat(2000)),
            signal(&long_path, ""),
            signal("/", "after"),
        ];
        let mut framing = Framing::new(1024);
        filtered(&mut framing, b"OK 0\r\n").unwrap();
        let stream = [before.clone(), long.clone(), skipped, after.clone()].concat();
        let passed: Vec<u8> =
            stream.chunks(7).flat_map(|chunk| filtered(&mut framing, chunk).unwrap()).collect();
        let body = 2000 + 5;
        let mut without_body = long[..long.len() - body].to_vec();
        without_body[BODY_LENGTH..][..4].fill(0);
        assert_eq!(passed, [before, without_body, after].concat());
    }

    #[test]
    fn announced_length_passes_nothing_before_its_bytes_arrive() {
        let mut framing = Framing::new(1024);
        filtered(&mut framing, b"OK 0\r\n").unwrap();
        let mut start = signal("/", "")[..START].to_vec();
        start[BODY_LENGTH..][..4].copy_from_slice(&(127_u32 << 20).to_le_bytes());
        let passed = filtered(&mut framing, &start).unwrap();
        assert_eq!(passed[BODY_LENGTH..][..4], [0; 4]);
    }

    #[test]
    fn rejects_bytes_that_no_bus_sends() {
        let endless = vec![b'x'; MAX_LINE + 1];
        let line = b"OK 0\r\n".as_slice();
        let not_a_message = [line, &[0; START]].concat();
        for input in [b"\n".as_slice(), b"OK\n", &endless, &not_a_message] {
            let error = filtered(&mut Framing::new(1024), input).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{input:?}");
        }
    }
}
