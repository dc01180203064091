//! Journal files that users cause: thousands of them, and a machine ID that changes.

use crate::support::{Exporter, Machine, eventually, in_time};

#[test]
fn system_journal_is_counted_with_3000_users_files() {
    let machine = Machine::options().boot();
    machine.ok(&["journalctl", "--sync"]);
    machine.write("/opt/files.py", FILES);
    machine.ok(&["python3", "/opt/files.py", "3000"]);
    let exporter = machine.exporter(&[]);
    machine.write("/opt/talk", "for n in $(seq 53); do echo line $n; done\n");
    machine.ok(&["systemd-run", "--quiet", "--wait", "--unit=talk", "sh", "/opt/talk"]);
    let counted = in_time(|| (messages(&exporter, "talk.service") >= 53.0).then_some(()));
    assert!(counted.is_some(), "{} of 53\n{}", messages(&exporter, "talk.service"), exporter.log());
    let samples = exporter.samples();
    let success = samples.value("unit_exporter_collector_success", &[("collector", "journal")]);
    assert_eq!(success, Some(0.0), "files that are not read are reported");
    assert!(exporter.log().contains("of users from 65536 on"), "{}", exporter.log());
}

#[test]
fn messages_are_counted_after_the_machine_id_changes() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&[]);
    machine.ok(&["systemd-run", "--quiet", "--wait", "--unit=before", "echo", "one"]);
    eventually("a message is counted", || {
        (messages(&exporter, "before.service") >= 1.0).then_some(())
    });
    let new = "00112233445566778899aabbccddeeff\n";
    machine.ok(&[
        "sh",
        "-c",
        &format!("umount -q /etc/machine-id; printf '{new}' > /etc/machine-id"),
    ]);
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    machine.ok(&["systemd-run", "--quiet", "--wait", "--unit=after", "echo", "one"]);
    let counted = in_time(|| (messages(&exporter, "after.service") >= 1.0).then_some(()));
    let log = machine.ok(&["sh", "-c", "ls /run/log/journal /var/log/journal 2>&1; journalctl -b"]);
    assert!(counted.is_some(), "{log}");
    assert!(log.contains("the machine ID has changed"), "{log}");
}

/// The messages of a unit and of systemd about it, of all priorities.
fn messages(exporter: &Exporter, name: &str) -> f64 {
    let samples = exporter.samples();
    let labels = [("name", name)];
    samples.all("systemd_unit_journal_messages_total", &labels).map(|sample| sample.value).sum()
}

/// Copies the start of system.journal to users' files, each with another ID.
const FILES: &str = r#"
import glob, os, sys
for path in glob.glob("/var/log/journal/*/system.journal") + glob.glob("/run/log/journal/*/system.journal"):
    start = bytearray(open(path, "rb").read(8192))
    for number in range(int(sys.argv[1])):
        start[24:40] = number.to_bytes(16, "little")
        with open(f"{os.path.dirname(path)}/user-{100000 + number}.journal", "wb") as file:
            file.write(start)
"#;
