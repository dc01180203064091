//! Packages of other distributions, built with their tools as far as Debian has them.

use serde_json::{Value, json};

use super::*;

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn makepkg_builds_the_pkgbuild_and_pacman_installs_it() {
    let machine = Machine::options().root(tree("arch", "bookworm", ARCH)).boot();
    let tarball = built("linux-amd64.tar.gz");
    let name = tarball.file_name().expect("a name").to_str().expect("text");
    machine.ok(&["mkdir", "-p", "/build", "/var/lib/pacman"]);
    fs::copy(&tarball, machine.path(&format!("build/{name}"))).expect("a copy");
    for file in ["PKGBUILD", "unit-exporter.install"] {
        let text = fs::read(in_project("packaging/arch").join(file)).expect("a file");
        machine.write(&format!("build/{file}"), text);
    }
    // makepkg does not run as root; the dependencies are Debian's
    let build =
        "chown -R daemon /build; cd /build; runuser -u daemon -- env HOME=/build makepkg --nodeps";
    machine.ok(&["sh", "-ec", build]);
    machine.ok(&["sed", "-i", "s/^pkgrel=1/pkgrel=2/", "/build/PKGBUILD"]);
    machine.ok(&["sh", "-ec", build]);
    let before = traces(&machine);
    let install = |release: u32| {
        let packages = format!("/build/*-{release}-x86_64.pkg.tar.*");
        machine.ok(&["sh", "-ec", &format!("pacman --upgrade -dd --noconfirm {packages}")]);
        // a hook of Arch Linux
        machine.ok(&["systemctl", "daemon-reload"]);
    };
    install(1);
    machine.ok(&["systemctl", "enable", "--now", "--quiet", SERVICE]);
    let exporter = installed(&machine);
    assert_complete(&exporter);
    let state = machine.ok(&["stat", "--format=%U:%G %a", "/etc/unit-exporter/web.yml"]);
    assert_eq!(state, "root:unit-exporter 640\n");

    let old = exporter.pid();
    let crashes = Crashes::start(&machine, &exporter);
    install(2);
    assert_eq!(
        machine.ok(&["pacman", "--query"]),
        format!("unit-exporter-bin {}-2\n", env!("CARGO_PKG_VERSION"))
    );
    assert_ne!(exporter.pid(), old);
    let exporter = exporter.ready();
    assert_complete(&exporter);
    crashes.are_all_counted(&machine, &exporter);
    machine.ok(&["pacman", "--remove", "-dd", "--nosave", "--noconfirm", "unit-exporter-bin"]);
    assert!(machine.tcp(9558).is_err());
    machine.ok(&["sh", "-ec", "userdel unit-exporter; rm -f /var/log/pacman.log"]);
    assert_eq!(traces(&machine), before);
}

#[test]
#[ignore = "needs nix-instantiate; make test-package runs it"]
fn nix_evaluates_the_module_and_the_package() {
    let mut nix = Command::new("nix-instantiate");
    nix.args(["--eval", "--strict", "--json", "--readonly-mode"]);
    nix.arg(in_project("tests/package/nixos.nix")).env("HOME", std::env::temp_dir());
    let output = nix.output().expect("nix-instantiate is needed: apt-get install nix-bin");
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected = json!({
        "pname": "unit-exporter",
        "version": env!("CARGO_PKG_VERSION"),
        "options": ["enable", "flags", "openFirewall", "package"],
        "start": "/nix/store/x/bin/unit-exporter '--expect-unit=nginx.service'",
        "groups": ["systemd-journal"],
        "ports": [9558],
        "disabled": {},
    });
    assert_eq!(value, expected, "{}", text(&output));
}

#[test]
fn files_of_other_package_managers_have_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("packaging/arch/PKGBUILD", format!("pkgver={version}")),
        ("packaging/ansible/galaxy.yml", format!("version: {version}")),
        ("packaging/kustomize/kustomization.yaml", format!("    newTag: {version}")),
    ] {
        let text = fs::read_to_string(in_project(file)).expect("a file");
        assert!(text.lines().any(|found| found == line), "{file} has no line {line:?}");
    }
}

const ARCH: &[&str] =
    &["makepkg", "pacman-package-manager", "fakeroot", "file", "libarchive-tools"];
