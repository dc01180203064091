//! Installation with Ansible, by a controller that runs in the machine itself.

use super::*;

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn ansible_lint_accepts_the_collection() {
    let mut lint = Command::new("ansible-lint");
    lint.args(["--nocolor", "-c", ".ansible-lint"]);
    succeeds(lint.current_dir(collection()));
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn role_installs_configures_upgrades_and_removes() {
    let machine = with_ansible();
    let before = traces(&machine);
    let json = r#""unit_exporter_flags": ["--log.format=json", "--systemd.collector.unit-exclude=a b|c\\w $|\"'"]"#;
    let changed = play(&machine, &format!("{{{json}}}"));
    assert!(changed > 3, "{changed} changes");
    let exporter = installed(&machine);
    let pid = machine.ok(&["systemctl", "show", "--property=MainPID", "--value", SERVICE]);
    let arguments = machine.ok(&["cat", &format!("/proc/{}/cmdline", pid.trim())]);
    let flags = "--log.format=json\0--systemd.collector.unit-exclude=a b|c\\w $|\"'\0";
    assert!(arguments.ends_with(flags), "{arguments:?}");
    assert_eq!(play(&machine, &format!("{{{json}}}")), 0, "a second run changes nothing");
    assert_eq!(machine.ok(&["systemctl", "show", "--property=MainPID", "--value", SERVICE]), pid);

    let crashes = Crashes::start(&machine, &exporter);
    repository::provide(&machine, &repository::repositories().newer);
    let latest = r#"{"unit_exporter_state": "latest", "unit_exporter_drop_ins": ["tls.conf"],
        "unit_exporter_web_config": {"http_server_config": {"headers": {"X-Frame-Options": "deny"}}}}"#;
    assert!(play(&machine, latest) > 2);
    assert_eq!(version(&machine), NEWER);
    let exporter = exporter.ready();
    crashes.are_all_counted(&machine, &exporter);
    assert_eq!(exporter.get("/metrics", &[]).header("x-frame-options"), Some("deny"));
    assert_eq!(play(&machine, latest), 0, "a second run changes nothing");

    play(&machine, r#"{"unit_exporter_state": "absent"}"#);
    assert_eq!(play(&machine, r#"{"unit_exporter_state": "absent"}"#), 0);
    assert_eq!(traces(&machine), before);
}

/// The steps of prometheus.prometheus.systemd_exporter 0.30.2 with its variables for the URLs: checksum from the list,
/// the archive without its first directory, the file `systemd_exporter`, and the flags of its unit.
#[test]
#[ignore = "needs make package; make test-package runs it"]
fn role_of_prometheus_community_finds_its_files_and_flags() {
    let machine = boot("bookworm");
    let tarball = built("linux-amd64.tar.gz");
    let name = tarball.file_name().expect("a name").to_str().expect("text");
    let sums = fs::read_to_string(tarball.with_file_name("sha256sums.txt")).expect("the checksums");
    let sum = succeeds(Command::new("sha256sum").arg(&tarball));
    let sum = sum.split_whitespace().next().expect("a sum");
    let listed = sums.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let listed: Vec<&str> =
        listed.filter(|line| line.1.trim() == name).map(|line| line.0).collect();
    assert_eq!(listed, [sum]);
    let script = format!(
        "mkdir /cache; tar -xf /packages/{name} -C /cache --strip-components=1; \
         useradd --system systemd-exporter; install -m 755 /cache/systemd_exporter /usr/local/bin/"
    );
    machine.ok(&["sh", "-ec", &script]);
    machine.unit(
        "systemd_exporter.service",
        "[Service]\nType=simple\nUser=systemd-exporter\nGroup=systemd-exporter\n\
         ExecStart=/usr/local/bin/systemd_exporter --systemd.collector.enable-restart-count \
         --systemd.collector.enable-ip-accounting --systemd.collector.unit-include=.+ \
         --systemd.collector.unit-exclude=tmp.+ --log.level=info --web.listen-address=0.0.0.0:9558\n\
         Restart=always\nRestartSec=1\nProtectHome=yes\nNoNewPrivileges=yes\nProtectSystem=strict\n\
         ProtectControlGroups=true\nProtectKernelModules=true\nProtectKernelTunables=yes\n",
    );
    machine.ok(&["systemctl", "start", "systemd_exporter"]);
    let page = machine.exporter_of("systemd_exporter.service", 9558).samples();
    let state = [("name", "systemd_exporter.service"), ("state", "active")];
    assert_eq!(page.value("systemd_unit_state", &state), Some(1.0));
    let restarts = [("name", "systemd_exporter.service")];
    assert_eq!(page.value("systemd_service_restart_total", &restarts), Some(0.0));
}

/// The role itself, from a checkout of its collection, which is no part of this project.
#[test]
#[ignore = "needs make package; make test-package runs it"]
fn role_of_prometheus_community_installs_the_exporter() {
    let Some(checkout) = std::env::var_os("PROMETHEUS_COLLECTION") else {
        println!(
            "not run: PROMETHEUS_COLLECTION names no checkout of prometheus-community/ansible"
        );
        return;
    };
    let machine = with_ansible();
    let inside = "ansible/ansible_collections/prometheus";
    fs::create_dir(machine.path(inside)).expect("a directory");
    let inside = machine.path(&format!("{inside}/prometheus"));
    succeeds(Command::new("cp").arg("-r").arg(checkout).arg(inside));
    machine.write(
        "ansible/community.yml",
        "- hosts: all\n  roles:\n    - role: prometheus.prometheus.systemd_exporter\n",
    );
    let tarball = built("linux-amd64.tar.gz");
    let name = tarball.file_name().expect("a name").to_str().expect("text");
    for file in [&*tarball, &tarball.with_file_name("sha256sums.txt")] {
        let copy = machine.path("packages").join(file.file_name().expect("a name"));
        fs::create_dir_all(machine.path("packages")).expect("a directory");
        fs::copy(file, copy).expect("a copy");
    }
    let server =
        ["python3", "-m", "http.server", "--directory=/packages", "--bind=127.0.0.1", "8000"];
    machine.ok(&[&["systemd-run", "--quiet", "--unit=server"][..], &server].concat());
    let variables = format!(
        r#"{{"systemd_exporter_binary_url": "http://127.0.0.1:8000/{name}",
            "systemd_exporter_checksums_url": "http://127.0.0.1:8000/sha256sums.txt",
            "systemd_exporter_enable_restart_count": true, "systemd_exporter_enable_ip_accounting": true,
            "systemd_exporter_unit_exclude": "tmp.+"}}"#
    );
    let run = || run(&machine, "community.yml", &variables);
    assert!(run() > 3);
    let exporter = machine.exporter_of("systemd_exporter.service", 9558).left_running();
    let page = exporter.samples();
    let state = [("name", "systemd_exporter.service"), ("state", "active")];
    assert_eq!(page.value("systemd_unit_state", &state), Some(1.0));
    assert_eq!(page.all("systemd_unit_state", &[("name", "tmp.mount")]).count(), 0);
    let pid = exporter.pid();
    println!("second run: {} changes", run());
    assert_eq!(exporter.pid(), pid, "the second run does not restart the service");
}

/// Runs the role with these variables and returns the number of changed tasks.
fn play(machine: &Machine, variables: &str) -> u32 {
    run(machine, "play.yml", variables)
}

/// Runs a playbook in /ansible and returns the number of changed tasks.
fn run(machine: &Machine, playbook: &str, variables: &str) -> u32 {
    let output = machine.exec(&[
        "env",
        "ANSIBLE_COLLECTIONS_PATH=/ansible",
        "ANSIBLE_COLLECTIONS_PATHS=/ansible",
        "ANSIBLE_NOCOLOR=1",
        "ansible-playbook",
        "--inventory=localhost,",
        "--connection=local",
        "--extra-vars=unit_exporter_packages_url=file:///repository",
        &format!("--extra-vars={variables}"),
        &format!("/ansible/{playbook}"),
    ]);
    if !output.status.success() {
        let log = machine.ok(&["journalctl", "--no-pager", "--lines=20", "--unit", SERVICE]);
        panic!("{}\n{log}", text(&output));
    }
    let output = text(&output);
    let changed = output.split("changed=").nth(1).and_then(|rest| rest.split(' ').next());
    changed.and_then(|changed| changed.parse().ok()).unwrap_or_else(|| panic!("{output}"))
}

/// A machine with Ansible, the collection and the repositories, but no package of ours.
fn with_ansible() -> Machine {
    let tree = tree("ansible", "bookworm", &["ansible-core", "python3-apt"]);
    let machine = Machine::options().root(tree).boot();
    repository::only_repository(&machine);
    machine.write(
        "ansible/play.yml",
        "- hosts: all\n  roles:\n    - role: unit_exporter.unit_exporter.unit_exporter\n",
    );
    machine.write("ansible/ansible_collections/unit_exporter/.keep", "");
    let inside = machine.path("ansible/ansible_collections/unit_exporter/unit_exporter");
    succeeds(Command::new("cp").arg("-r").arg(collection()).arg(inside));
    machine
}

fn collection() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/ansible")
}
