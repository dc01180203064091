//! The tarball: installed, upgraded and removed by the commands of docs/install.md.

use super::*;

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn tarball_installs_upgrades_and_removes_on_bookworm() {
    installs_upgrades_and_removes("bookworm");
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn tarball_installs_upgrades_and_removes_on_trixie() {
    installs_upgrades_and_removes("trixie");
}

fn installs_upgrades_and_removes(suite: &str) {
    let machine = boot(suite);
    let sums = fs::read(built("sha256sums.txt")).expect("the checksums");
    machine.write("packages/sha256sums.txt", sums);
    let [install, check, upgrade, remove] = &blocks()[..] else { panic!("{:#?}", blocks()) };
    let before = traces(&machine);
    run(&machine, install);
    let exporter = installed(&machine);
    assert_complete(&exporter);
    let report = run(&machine, check);
    println!("check host: {}", report.lines().last().unwrap_or_default());

    machine.write("etc/default/unit-exporter", "ARGS=\"--log.format=json\"\n");
    let old = exporter.pid();
    let crashes = Crashes::start(&machine, &exporter);
    run(&machine, upgrade);
    assert_ne!(exporter.pid(), old);
    let exporter = exporter.ready();
    assert_complete(&exporter);
    crashes.are_all_counted(&machine, &exporter);
    assert!(exporter.log().contains("\"level\":\"INFO\""), "{}", exporter.log());

    run(&machine, remove);
    assert!(machine.tcp(9558).is_err());
    assert_eq!(traces(&machine), before);
    assert_eq!(machine.ok(&["systemctl", "--failed", "--plain", "--no-legend"]), "");
}

/// Runs commands in an empty directory, with a `curl -fLO` that copies the built files.
fn run(machine: &Machine, commands: &str) -> String {
    let directory = "rm -rf /packages/new; mkdir /packages/new; cd /packages/new";
    let curl = "curl() { cp \"/packages/${2##*/}\" .; }";
    machine.ok(&["sh", "-ec", &format!("{directory}\n{curl}\n{commands}")])
}

/// The commands in each block of the section.
fn blocks() -> Vec<String> {
    let section = INSTALL.split_once("### Install the tarball\n").expect("a section").1;
    let section = section.split_once("\n## ").expect("a next section").0;
    let blocks = section.split("```console\n").skip(1);
    let lines = |block: &str| {
        let lines = block.lines().map_while(|line| line.strip_prefix("# "));
        lines.collect::<Vec<_>>().join("\n")
    };
    blocks.map(lines).collect()
}

const INSTALL: &str = include_str!("../../docs/install.md");
