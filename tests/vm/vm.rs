//! One VM: creating it, running commands in it, rebooting it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// A running VM, which ends with the test process: the supervisor reads the end of the pipe.
#[derive(Debug)]
pub(crate) struct Vm {
    _supervisor: Child,
    shell: BufReader<UnixStream>,
    boot_id: String,
}

/// The VM that the tests share, with the package and this test binary in it.
pub(crate) fn booted() -> MutexGuard<'static, Vm> {
    static VM: OnceLock<Mutex<Vm>> = OnceLock::new();
    let vm = VM.get_or_init(|| Mutex::new(Vm::boot()));
    vm.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vm {
    fn boot() -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm");
        let start = Instant::now();
        script(&["make".as_ref(), directory.as_ref()]);
        println!("trees created or found in {:.0} s", start.elapsed().as_secs_f64());
        let this = env::current_exe().expect("this program");
        let file = |from: &Path, to: &str| format!("{}:{to}", from.display());
        let start = Instant::now();
        let image = directory.join("disk");
        let (program, package) = (file(&this, PROGRAM), file(&package(), PACKAGE));
        script(&[
            "image".as_ref(),
            directory.as_ref(),
            image.as_ref(),
            program.as_ref(),
            package.as_ref(),
        ]);
        println!("disk created in {:.0} s", start.elapsed().as_secs_f64());
        let socket = directory.join("shell");
        fs::remove_file(&socket).ok();
        let start = Instant::now();
        let supervisor = Command::new(SCRIPT)
            .arg("run")
            .args([&directory, &image, &socket])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the script starts");
        let shell = loop {
            if let Ok(shell) = UnixStream::connect(&socket) {
                break shell;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "QEMU does not start");
            thread::sleep(Duration::from_millis(50));
        };
        shell.set_read_timeout(Some(READ_TIMEOUT)).expect("a read timeout");
        let shell = BufReader::new(shell);
        let mut vm = Self { _supervisor: supervisor, shell, boot_id: String::new() };
        vm.ready();
        println!("booted in {:.0} s", start.elapsed().as_secs_f64());
        vm
    }

    /// Runs a script inside, and returns its exit status and output.
    #[track_caller]
    pub(crate) fn run(&mut self, script: &str) -> (i32, String) {
        // The length is sent before the output: the output may contain any bytes.
        let framed = format!(
            "{{ {script}\n}} < /dev/null > /run/output 2>&1; \
             echo $? $(stat --format=%s /run/output); cat /run/output\n"
        );
        self.shell.get_mut().write_all(framed.as_bytes()).expect("a write to the shell");
        let head = self.line();
        let numbers = head.trim().split_once(' ');
        let (status, length) =
            numbers.unwrap_or_else(|| panic!("unexpected reply of the shell: {head:?}"));
        let mut output = vec![0; length.parse().expect("a length")];
        self.shell.read_exact(&mut output).expect("the whole output");
        let output = String::from_utf8_lossy(&output).into_owned();
        (status.parse().expect("a status"), output)
    }

    /// Runs a script inside and returns its output; panics with it if the script fails.
    #[track_caller]
    pub(crate) fn ok(&mut self, script: &str) -> String {
        let (status, output) = self.run(script);
        assert_eq!(status, 0, "{script}\n{output}");
        output
    }

    /// Reboots the VM, and waits until it is up.
    pub(crate) fn reboot(&mut self) {
        // the shell may be ended before it replies
        self.shell.get_mut().write_all(b"systemctl reboot\n").expect("a write to the shell");
        self.ready();
    }

    /// Waits for the shell of another boot.
    fn ready(&mut self) {
        loop {
            let line = self.line();
            if let Some(boot_id) = line.trim().strip_prefix("ready ")
                && boot_id != self.boot_id
            {
                self.boot_id = boot_id.to_owned();
                return;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        match self.shell.read_line(&mut line) {
            Ok(length) if length > 0 => line,
            other => {
                panic!("no more output of the VM ({other:?}); see target/vm/disk.console")
            }
        }
    }
}

/// The package that `make package` builds.
fn package() -> PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/package");
    let files = fs::read_dir(&packages).into_iter().flatten().flatten().map(|file| file.path());
    let mut debs = files.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    debs.next().unwrap_or_else(|| panic!("no .deb in {}: make package first", packages.display()))
}

fn script(arguments: &[&std::ffi::OsStr]) {
    let output = Command::new(SCRIPT).args(arguments).output().expect("the script starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Path of the test binary inside.
pub(crate) const PROGRAM: &str = "/opt/test";
/// Path of the package inside.
pub(crate) const PACKAGE: &str = "/opt/unit-exporter.deb";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/vm");
// Long enough without KVM on a busy host.
const READ_TIMEOUT: Duration = Duration::from_secs(600);
