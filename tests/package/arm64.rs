//! The packages for arm64, whose programs run under qemu-user beside those for amd64.
//!
//! qemu-user has no netlink socket for listeners, and a just-in-time compiler that some settings of the sandbox forbid.

use super::*;

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn renders_the_golden_responses_on_arm64() {
    let mut golden = Command::new("cargo");
    golden.args(["test", "--quiet", "--locked", "--target", TARGET, "--test", "golden"]);
    golden.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("UPDATE");
    let target = TARGET.to_uppercase().replace('-', "_");
    golden.env(format!("CARGO_TARGET_{target}_LINKER"), "aarch64-linux-gnu-gcc");
    golden.env(format!("CARGO_TARGET_{target}_RUNNER"), format!("{QEMU} -L {LIBRARIES}"));
    let output = succeeds(&mut golden);
    assert!(output.contains("test result: ok"), "{output}");
    println!("{}", output.trim());
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn packages_for_arm64_and_amd64_have_the_same_files() {
    for (arm64, amd64, list) in [
        ("arm64.deb", "amd64.deb", "dpkg-deb --fsys-tarfile \"$0\" | tar -t"),
        ("aarch64.rpm", "x86_64.rpm", "rpm -q --list --package \"$0\""),
        ("linux-arm64.tar.gz", "linux-amd64.tar.gz", "tar -tf \"$0\" | cut -d / -f 2-"),
    ] {
        let files = |end: &str| {
            let mut files = succeeds(Command::new("sh").args(["-ec", list]).arg(built(end)));
            files.truncate(files.trim_end().len());
            let mut files: Vec<String> = files.lines().map(str::to_owned).collect();
            files.sort();
            files
        };
        assert!(files(amd64).len() > 10);
        assert_eq!(files(arm64), files(amd64), "{arm64}");
        for end in [arm64, amd64] {
            println!("{end}: {} bytes", fs::metadata(built(end)).expect("a package").len());
        }
    }
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn deb_for_arm64_installs_serves_the_same_series_and_purges() {
    let machine = boot_with_qemu();
    machine.unit("app.service", APP);
    machine.ok(&["systemctl", "start", "app"]);
    let before = traces(&machine);
    // the scripts of the package run; its service needs qemu
    machine.write(&format!("run/systemd/system/{SERVICE}.d/qemu.conf"), DROP_IN);
    machine.ok(&["dpkg", "--force-architecture", "--force-depends", "-i", "/packages/arm64.deb"]);
    let exporter = installed(&machine);
    let program = fs::read(machine.path("usr/bin/unit-exporter")).expect("the program");
    // e_machine of the ELF header: EM_AARCH64
    assert_eq!(program[18..20], [183, 0]);
    let arm64 = exporter.samples();
    let failing = image::failing(&arm64);
    println!("arm64 under qemu-user: failing {failing:?}");
    assert!(failing.iter().all(|name| name == "listeners"), "{failing:?}");

    // the program for amd64, as the same user, without sandbox
    let user = [
        "User=unit-exporter",
        "SupplementaryGroups=systemd-journal",
        // it then counts from the boot on, like the service
        "RuntimeDirectory=amd64",
    ];
    let amd64 = machine.exporter_unit(&user, &["--profile=default"]).ready();
    let (of_arm64, of_amd64) = (series(&exporter.samples()), series(&amd64.samples()));
    let missing: Vec<_> = of_amd64.difference(&of_arm64).collect();
    let foreign: Vec<_> = of_arm64.difference(&of_amd64).collect();
    println!("{} series of units on both", of_arm64.intersection(&of_amd64).count());
    assert!(
        of_amd64.len() > 100 && missing.is_empty() && foreign.is_empty(),
        "{missing:#?}\n{foreign:#?}"
    );
    drop(amd64);

    let crashes = Crashes::start(&machine, &exporter);
    machine.ok(&["systemctl", "restart", SERVICE]);
    let exporter = exporter.ready();
    crashes.are_all_counted(&machine, &exporter);

    machine.ok(&["dpkg", "--purge", "unit-exporter"]);
    machine.ok(&[
        "sh",
        "-ec",
        "rm -r /run/systemd/system/unit-exporter.service.d; rm /etc/systemd/system/l*.service",
    ]);
    assert_eq!(traces(&machine), before);
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn static_program_for_arm64_has_no_dependencies() {
    let machine = boot_with_qemu();
    let name = format!("unit-exporter-{}.linux-arm64", env!("CARGO_PKG_VERSION"));
    machine.ok(&["mkdir", "/unpacked"]);
    machine.ok(&["tar", "-xf", "/packages/arm64.tar.gz", "-C", "/unpacked"]);
    // without -L: no library and no dynamic loader
    let program = format!("/unpacked/{name}/unit-exporter");
    let version = machine.ok(&["/qemu/qemu", &program, "--version"]);
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let listen = "--web.listen-address=localhost:9558";
    machine.ok(&[
        "systemd-run",
        "--unit",
        SERVICE,
        "--quiet",
        "--",
        "/qemu/qemu",
        &program,
        listen,
    ]);
    let page = installed(&machine).samples();
    let state = [("name", SERVICE), ("state", "active")];
    assert_eq!(page.value("systemd_unit_state", &state), Some(1.0));
    for program in [&*program, "usr/bin/unit-exporter"] {
        if let Ok(metadata) = fs::metadata(machine.path(program)) {
            println!("{program}: {:.1} MiB", mib(metadata.len()));
        }
    }
}

/// A machine with qemu-user and the packages for arm64.
fn boot_with_qemu() -> Machine {
    let qemu = succeeds(Command::new("sh").args(["-c", "command -v \"$0\"", QEMU]));
    let root = tree("bookworm", "bookworm", &[]);
    let options = Machine::options().root(root).bind(qemu.trim(), "/qemu/qemu");
    let machine = options.bind(LIBRARIES, "/qemu/root").boot();
    machine.ok(&["mkdir", "/packages"]);
    for (end, name) in [("arm64.deb", "arm64.deb"), ("linux-arm64.tar.gz", "arm64.tar.gz")] {
        fs::copy(built(end), machine.path(&format!("packages/{name}"))).expect("a copy");
    }
    machine
}

/// The series of units but for those of the exporters themselves and for messages, which count from an exporter's start.
fn series(page: &Samples) -> BTreeSet<String> {
    let of_units = page.0.iter().filter(|sample| {
        let name = sample.label("name");
        !name.is_empty()
            && !name.starts_with("unit-exporter")
            && sample.name != "systemd_unit_journal_messages_total"
    });
    of_units.map(|sample| format!("{} {:?}", sample.name, sample.labels)).collect()
}

const TARGET: &str = "aarch64-unknown-linux-gnu";
const QEMU: &str = "qemu-aarch64-static";
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
const DROP_IN: &str = "[Service]\nExecStart=\nExecStart=/qemu/qemu -L /qemu/root /usr/bin/unit-exporter $ARGS\n\
    MemoryDenyWriteExecute=no\nSystemCallFilter=\nSystemCallArchitectures=\n";
