//! One booted systemd: booting it, running commands in it, and connecting to it from outside.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How to boot a machine.
#[derive(Debug, Clone, Default)]
pub struct Options {
    arguments: Vec<String>,
}

impl Options {
    /// Boots this tree instead of the host's own.
    pub fn root(self, tree: impl AsRef<Path>) -> Self {
        self.argument("--root", tree.as_ref().display())
    }

    /// Mounts a file or directory at `inside`, read-only.
    pub fn bind(self, outside: impl AsRef<Path>, inside: &str) -> Self {
        self.argument("--bind", format_args!("{}:{inside}", outside.as_ref().display()))
    }

    /// Copies a directory over the tree before it boots: unit files, scripts.
    pub fn overlay(self, directory: impl AsRef<Path>) -> Self {
        self.argument("--overlay", directory.as_ref().display())
    }

    /// Adds the daemons that scripts/setup unpacks, which the host may not have. Another tree brings its own.
    pub fn daemons(self) -> Self {
        if env::var_os(TREE).is_some() {
            return self;
        }
        let resolved = Path::new(DAEMONS).join("usr/lib/systemd/systemd-resolved");
        assert!(resolved.exists(), "no {}: scripts/setup test unpacks it", resolved.display());
        self.overlay(DAEMONS)
    }

    /// Uses the hybrid cgroup layout instead of pure v2. If the host mounts the controllers as v1, they are available
    /// inside with this layout only: v2 inside has none.
    pub fn cgroup_v1(self) -> Self {
        self.argument("--cgroup", "v1")
    }

    /// Boots the machine and waits until it has booted; panics with the reason if that fails.
    pub fn boot(self) -> Machine {
        self.try_boot().unwrap_or_else(|error| panic!("failed to boot a machine: {error}"))
    }

    /// Like `boot`, but returns the reason as an error.
    pub fn try_boot(mut self) -> io::Result<Machine> {
        if env::var_os(HERE).is_some() {
            return Ok(Machine { supervisor: None, pid1: 1, boot_time: Duration::ZERO });
        }
        if let Some(tree) = env::var_os(TREE)
            && !self.arguments.iter().any(|argument| argument == "--root")
        {
            self = self.root(tree);
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("unit-exporter-test-{}-{number}", process::id());
        let directory = Path::new(STATE).join(name);
        fs::create_dir(&directory)?;
        let notify = UnixDatagram::bind(directory.join("notify"))?;
        notify.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut supervisor = Command::new(BOOTED)
            .args(["up", "--dir"])
            .arg(&directory)
            .args(self.bind(program(), EXPORTER_INSIDE).arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0) // Ctrl-C reaches only the test; the machine then ends and cleans up
            .spawn()?;
        let start = Instant::now();
        let mut message = [0; 4096];
        loop {
            if let Ok(length) = notify.recv(&mut message)
                && message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
            {
                let pid1 = fs::read_to_string(directory.join("pid1"))?;
                let pid1 = pid1.trim().parse().map_err(io::Error::other)?;
                return Ok(Machine {
                    supervisor: Some(supervisor),
                    pid1,
                    boot_time: start.elapsed(),
                });
            }
            if supervisor.try_wait()?.is_some() {
                let mut stderr = String::new();
                supervisor.stderr.take().map(|mut pipe| pipe.read_to_string(&mut stderr));
                return Err(io::Error::other(stderr));
            }
            if start.elapsed() > BOOT_TIMEOUT {
                let state = boot_state(&directory);
                drop(supervisor.stdin.take());
                supervisor.wait()?;
                return Err(io::Error::other(format!("not booted in {BOOT_TIMEOUT:?}: {state}")));
            }
        }
    }

    fn argument(mut self, option: &str, value: impl ToString) -> Self {
        self.arguments.extend([option.to_owned(), value.to_string()]);
        self
    }
}

/// A running machine, which ends when dropped, and also when the test process ends, for whatever reason: the supervisor
/// then reads the end of the pipe that this value holds open.
#[derive(Debug)]
pub struct Machine {
    supervisor: Option<Child>,
    pid1: u32,
    boot_time: Duration,
}

impl Machine {
    /// The defaults: the host's own systemd without its units, cgroup v2, a separate network.
    pub fn options() -> Options {
        Options::default()
    }

    /// Version of its systemd.
    pub fn version(&self) -> u32 {
        let output = self.ok(&["systemctl", "--version"]);
        output.split(' ').nth(1).and_then(|version| version.parse().ok()).expect("a version")
    }

    /// Whether its systemd has at least this version. If not, prints which part of the test is skipped.
    pub fn since(&self, version: u32, part: &str) -> bool {
        let here = self.version();
        if here < version {
            // scripts/matrix greps for the first words
            eprintln!("not on this systemd, {here}: {part}; needs {version}");
        }
        here >= version
    }

    /// Pid of PID 1 as seen from outside.
    pub fn pid1(&self) -> u32 {
        self.pid1
    }

    /// Time from the start of the supervisor to systemd's READY=1.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// A path inside, as seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        format!("/proc/{}/root/{}", self.pid1, inside.trim_start_matches('/')).into()
    }

    /// The socket of the system bus, as seen from outside.
    pub fn bus(&self) -> PathBuf {
        self.path("run/dbus/system_bus_socket")
    }

    /// A command to run inside as root, which stays in the test's cgroup and belongs to no unit.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid1.to_string(), "--all", "--", "env", "-i"])
            .args(ENVIRONMENT)
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command inside and waits for its exit.
    #[track_caller]
    pub fn exec<S: AsRef<OsStr>>(&self, command: &[S]) -> Output {
        self.command(&command[0]).args(&command[1..]).output().expect("nsenter runs")
    }

    /// Runs a command inside and returns its stdout; panics with all output if the command fails.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr> + Debug>(&self, command: &[S]) -> String {
        let output = self.exec(command);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
        stdout
    }

    /// Writes a file inside and creates its directories.
    #[track_caller]
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a file's path")).expect("a directory inside");
        fs::write(&path, content).expect("a file inside");
    }

    /// Installs unit files and reloads systemd once.
    #[track_caller]
    pub fn units(&self, units: &[(&str, &str)]) {
        for (name, text) in units {
            self.write(&format!("etc/systemd/system/{name}"), text);
        }
        self.ok(&["systemctl", "daemon-reload"]);
    }

    /// Installs one unit file and reloads systemd.
    #[track_caller]
    pub fn unit(&self, name: &str, text: &str) {
        self.units(&[(name, text)]);
    }

    /// Connects to a port on the loopback address inside.
    pub fn tcp(&self, port: u16) -> io::Result<TcpStream> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.pid1))?;
        // A socket belongs to the network namespace of the thread that created it.
        let connect = move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect(("127.0.0.1", port))
        };
        thread::spawn(connect).join().expect("a connection or an error")
    }

    /// CPU time of PID 1, from the scheduler's nanosecond clock.
    pub fn pid1_cpu(&self) -> Duration {
        cpu(self.pid1)
    }

    /// CPU time of the system bus's daemon, from the scheduler's nanosecond clock.
    pub fn dbus_cpu(&self) -> Duration {
        let pid = self.ok(&["systemctl", "show", "--property=MainPID", "--value", "dbus.service"]);
        cpu(self.outer_pid(pid.trim().parse().expect("a pid")).expect("a running dbus-daemon"))
    }

    /// Pid outside of a process that has the pid `inside` in the machine.
    pub fn outer_pid(&self, inside: u32) -> Option<u32> {
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", self.pid1)).ok()?;
        let processes = fs::read_dir("/proc").ok()?;
        processes.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            if fs::read_link(entry.path().join("ns/pid")).ok()? != namespace {
                return None;
            }
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            (pids.split_ascii_whitespace().next_back()? == inside.to_string()).then_some(pid)
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(supervisor) = &mut self.supervisor {
            drop(supervisor.stdin.take());
            supervisor.wait().ok();
        }
    }
}

/// Log, queued systemd jobs and journal of a machine that does not finish booting.
fn boot_state(directory: &Path) -> String {
    let mut state = fs::read_to_string(directory.join("log")).unwrap_or_default();
    for command in [&["systemctl", "list-jobs"][..], &["journalctl", "--lines=40"]] {
        let inside = Command::new(BOOTED)
            .arg("exec")
            .arg(directory)
            .args(["timeout", "5"])
            .args(command)
            .output();
        let output =
            inside.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        state += &format!("\n{}: {}", command.join(" "), String::from_utf8_lossy(&output));
    }
    state
}

/// The exporter's binary that is mounted into machines.
pub fn program() -> PathBuf {
    env::var_os(PROGRAM).unwrap_or_else(|| EXPORTER.into()).into()
}

/// CPU time of a process: the sum over its threads.
pub fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let nanoseconds = threads.flatten().map(|thread| {
        let times = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        times.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Path of the exporter inside every machine.
pub const EXPORTER_INSIDE: &str = "/usr/local/bin/unit-exporter";

/// If set, `Machine` is this host itself: for tests that run inside a VM.
pub const HERE: &str = "UNIT_EXPORTER_TEST_HERE";
/// The tree to boot if a test names none, with another version of systemd.
pub const TREE: &str = "UNIT_EXPORTER_TEST_TREE";
/// The exporter to test instead of cargo's, whose libc may be too new for the tree.
pub const PROGRAM: &str = "UNIT_EXPORTER_TEST_PROGRAM";

const EXPORTER: &str = env!("CARGO_BIN_EXE_unit-exporter");
const BOOTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/booted");
const DAEMONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/daemons");
// Not /tmp, which may be a tmpfs: inside, this is /run/host, where tests of I/O need a disk.
const STATE: &str = "/var/tmp";
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);
const ENVIRONMENT: [&str; 5] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "TERM=dumb",
    "SYSTEMD_PAGER=",
];
static NUMBER: AtomicU32 = AtomicU32::new(0);
