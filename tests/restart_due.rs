//! Services that run older files than those of the host, and only those.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use support::{Machine, Samples, eventually};

/// The causes by service, of an exporter that has just been started: a check is made once a minute.
fn due(machine: &Machine, properties: &[&str]) -> BTreeSet<(String, String)> {
    let exporter = machine.exporter_unit(properties, &["--profile=minimal"]).ready();
    let page = exporter.samples();
    causes(&page)
}

fn causes(page: &Samples) -> BTreeSet<(String, String)> {
    let all = page.all("systemd_service_restart_due", &[]);
    all.map(|sample| (sample.label("name").to_owned(), sample.label("because").to_owned()))
        .collect()
}

fn set(causes: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    causes.iter().map(|(name, because)| ((*name).to_owned(), (*because).to_owned())).collect()
}

#[test]
fn each_change_of_a_file_makes_a_restart_due_until_then() {
    let machine = &Machine::options().boot();
    assert_eq!(due(machine, &[]), set(&[]), "after a boot");
    for release in ["1", "2"] {
        machine
            .write(&format!("srv/app/releases/{release}/worker"), "import time\ntime.sleep(1e6)\n");
    }
    machine.ok(&["ln", "-s", "releases/1", "/srv/app/current"]);
    machine.ok(&["cp", "/bin/sleep", "/usr/local/bin/napper"]);
    machine.ok(&["cp", "-L", "/usr/bin/python3", "/usr/local/bin/python3.99"]);
    // as in Debian, whose /usr/bin/php leads to one version of several
    machine.ok(&["ln", "-s", "/usr/local/bin/python3.99", "/etc/alternatives/runner"]);
    machine.ok(&["ln", "-s", "/etc/alternatives/runner", "/usr/local/bin/runner"]);
    let shell = "#!/usr/local/bin/python3.99\nimport time\ntime.sleep(1e6)\n";
    machine.write("usr/local/bin/tool", shell);
    machine.ok(&["chmod", "+x", "/usr/local/bin/tool"]);
    let python = "ExecStart=/usr/bin/python3 -u worker\nWorkingDirectory=/srv/app/current\n";
    let units = [
        ("linked.service", python.to_owned()),
        ("path.service", "ExecStart=/usr/bin/python3 /srv/app/current/worker\n".to_owned()),
        ("napper.service", "ExecStart=/usr/local/bin/napper infinity\n".to_owned()),
        ("script.service", "ExecStart=/usr/bin/python3 /srv/app/releases/2/worker\n".to_owned()),
        ("tool.service", "ExecStart=/usr/local/bin/tool\n".to_owned()),
        (
            "chosen.service",
            "ExecStart=/usr/local/bin/runner /srv/app/releases/1/worker\n".to_owned(),
        ),
        ("edited.service", "ExecStart=/bin/sleep infinity\n".to_owned()),
        ("other.service", "ExecStart=/bin/sleep infinity\n".to_owned()),
    ];
    let texts: Vec<_> =
        units.iter().map(|(name, text)| (*name, format!("[Service]\n{text}"))).collect();
    machine.units(&texts.iter().map(|(name, text)| (*name, &**text)).collect::<Vec<_>>());
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    machine.ok(&[&["systemctl", "start"][..], &names].concat());
    assert_eq!(due(machine, &[]), set(&[]), "after the start");
    thread::sleep(Duration::from_millis(1100)); // systemd compares modification times

    // a deployment: the link is switched
    machine.ok(&["ln", "-s", "releases/2", "/srv/app/new"]);
    machine.ok(&["mv", "-T", "/srv/app/new", "/srv/app/current"]);
    let linked = [("linked.service", "directory"), ("path.service", "directory")];
    assert_eq!(due(machine, &[]), set(&linked));
    machine.ok(&["systemctl", "restart", "linked", "path"]);
    assert_eq!(due(machine, &[]), set(&[]));

    // a package upgrade: a new file with an old modification time
    machine.ok(&["sh", "-c", "cp -p /usr/local/bin/napper /usr/local/bin/napper.new && touch -d 2020-01-01 /usr/local/bin/napper.new && mv /usr/local/bin/napper.new /usr/local/bin/napper"]);
    let napper = [("napper.service", "program"), ("napper.service", "library")];
    assert_eq!(due(machine, &[]), set(&napper), "as root, the deleted program is seen, too");
    // another version of an interpreter is chosen
    machine.ok(&["ln", "-sfn", "/usr/bin/python3", "/etc/alternatives/runner"]);
    let chosen = ("chosen.service", "program");
    assert_eq!(due(machine, &[]), set(&[napper[0], napper[1], chosen]));
    machine.ok(&["systemctl", "restart", "chosen"]);
    machine.ok(&["ln", "-sfn", "/usr/local/bin/python3.99", "/etc/alternatives/runner"]);
    machine.ok(&["systemctl", "restart", "chosen"]);
    assert_eq!(due(machine, &[]), set(&napper));
    // an upgrade of an interpreter, and of a script
    machine.ok(&[
        "sh",
        "-c",
        "cp -L /usr/bin/python3 /usr/local/bin/p && mv /usr/local/bin/p /usr/local/bin/python3.99",
    ]);
    machine.ok(&["sh", "-c", "echo >> /srv/app/releases/2/worker"]);
    let unprivileged = ["User=nobody"];
    let scripts = [
        chosen,
        ("linked.service", "program"),
        ("napper.service", "program"),
        ("path.service", "program"),
        ("script.service", "program"),
        ("tool.service", "program"),
    ];
    assert_eq!(due(machine, &unprivileged), set(&scripts));
    machine.ok(&["systemctl", "restart", "linked", "path", "napper", "script", "tool", "chosen"]);
    assert_eq!(due(machine, &[]), set(&[]));

    // a changed unit: needs a daemon-reload first, then a restart; set-property needs neither
    machine.ok(&["systemctl", "set-property", "--runtime", "other", "CPUWeight=50"]);
    machine.write("etc/systemd/system/edited.service.d/nice.conf", "[Service]\nNice=5\n");
    let exporter = machine.exporter(&["--profile=full"]);
    eventually("the unit needs a daemon-reload", || {
        exporter.samples().value("systemd_unit_need_daemon_reload", &[("name", "edited.service")])
    });
    drop(exporter);
    // a restart would not read the change yet
    assert_eq!(due(machine, &[]), set(&[]), "before a daemon-reload");
    machine.ok(&["systemctl", "daemon-reload"]);
    assert_eq!(due(machine, &unprivileged), set(&[("edited.service", "unit-file")]));
    // an exporter that runs notices the restart at once
    let exporter = machine.exporter(&["--profile=minimal"]);
    assert_eq!(causes(&exporter.samples()), set(&[("edited.service", "unit-file")]));
    machine.ok(&["systemctl", "restart", "edited"]);
    eventually("nothing is due", || causes(&exporter.samples()).is_empty().then_some(()));
}

#[test]
fn replaced_library_makes_a_restart_due() {
    let machine = &Machine::options().boot();
    machine.ok(&[
        "sh",
        "-c",
        "mkdir -p /opt/lib && cp -L $(ldd /bin/sleep | grep -o '/[^ ]*libc.so.6') /opt/lib/",
    ]);
    machine.unit(
        "uses.service",
        "[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/lib\nExecStart=/bin/sleep infinity\n",
    );
    machine.ok(&["systemctl", "start", "uses"]);
    assert_eq!(due(machine, &[]), set(&[]));
    machine.ok(&[
        "sh",
        "-c",
        "cp /opt/lib/libc.so.6 /opt/lib/new && mv /opt/lib/new /opt/lib/libc.so.6",
    ]);
    let library = set(&[("uses.service", "library")]);
    assert_eq!(due(machine, &[]), library);
    // another user may not read the mappings, unless the exporter has the capability
    assert_eq!(due(machine, &["User=nobody"]), set(&[]));
    let capability = ["User=nobody", "AmbientCapabilities=CAP_SYS_PTRACE"];
    assert_eq!(due(machine, &capability), library);
    machine.ok(&["systemctl", "restart", "uses"]);
    assert_eq!(due(machine, &[]), set(&[]));
}
