//! Reading all listeners, few or many, also next to many connected sockets.
//!
//! The sockets are created in the caller's network namespace: `unshare --net` (then bring up `lo`)
//! keeps the machine's sockets out of the results.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use unit_exporter::source::sockets::{ListenerInput, Listeners, SocketOptions};

fn main() {
    divan::main();
}

#[divan::bench(args = [40, 1000], sample_count = 300)]
fn read(bencher: divan::Bencher<'_, '_>, count: u16) {
    let _sockets = listening(count);
    let mut listeners = Listeners::new(SocketOptions::default());
    let input = ListenerInput::default();
    assert_eq!(read_once(&mut listeners, &input), usize::from(count));
    bencher.bench_local(|| read_once(&mut listeners, &input));
}

#[divan::bench(args = [40, 1000], sample_count = 300)]
fn read_next_to_20_000_connected_sockets(bencher: divan::Bencher<'_, '_>, count: u16) {
    let sockets = listening(count);
    // Each connection is two sockets: the client's and the one that waits for accept().
    let clients: Vec<TcpStream> = (0..10_000)
        .map(|at| {
            TcpStream::connect(SocketAddrV4::new(LOCAL, PORT + at % count.min(10)))
                .expect("connecting to a listener of this bench")
        })
        .collect();
    let mut listeners = Listeners::new(SocketOptions::default());
    let input = ListenerInput::default();
    assert_eq!(read_once(&mut listeners, &input), usize::from(count));
    bencher.bench_local(|| read_once(&mut listeners, &input));
    // Closing the listeners first resets the unaccepted connections, which avoids TIME_WAIT sockets.
    drop(sockets);
    drop(clients);
}

/// The first read after a start of the exporter or of a service, which reads every unit's cgroup.
/// Directories in tmpfs replace cgroups; reading cgroups is not cheaper.
#[divan::bench(args = [40, 1000], sample_count = 100)]
fn read_with_unit_cgroups(bencher: divan::Bencher<'_, '_>, count: u16) {
    let _sockets = listening(count);
    let root = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let mut input = ListenerInput::default();
    for unit in 0..count {
        let unit = format!("{unit}.service");
        std::fs::create_dir(root.path().join(&unit)).expect("a directory");
        input.units.push((unit.as_str().into(), format!("/{unit}").into()));
    }
    let options = SocketOptions { cgroup_root: root.path().to_owned(), ..SocketOptions::default() };
    bencher
        .with_inputs(|| Listeners::new(options.clone()))
        .bench_local_values(|mut listeners| read_once(&mut listeners, &input));
}

fn read_once(listeners: &mut Listeners, input: &ListenerInput) -> usize {
    let deadline = Instant::now() + Duration::from_secs(5);
    let reading = listeners.read(input, deadline).expect("sock_diag answers");
    reading.listeners.iter().filter(|listener| listener.address == "127.0.0.2").count()
}

fn listening(count: u16) -> Vec<OwnedFd> {
    (0..count)
        .map(|at| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
            bind(&socket, &SocketAddrV4::new(LOCAL, PORT + at)).expect("a free port");
            listen(&socket, 4096).expect("a bound socket listens");
            socket
        })
        .collect()
}

const LOCAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PORT: u16 = 20_000;
