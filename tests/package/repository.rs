//! The repositories of `make repository`: added as in docs/install.md, installed from, upgraded from, and removed.

use super::*;

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn apt_installs_upgrades_and_purges_on_bookworm() {
    apt("bookworm");
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn apt_installs_upgrades_and_purges_on_trixie() {
    apt("trixie");
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn apt_rejects_index_and_package_that_are_not_signed() {
    let machine = with_repository("bookworm");
    let change = |script: &str| machine.ok(&["sh", "-ec", script]);
    change(
        "cd /repository/apt/dists/stable && sed -i 's/^Label: .*/Label: other/' InRelease Release",
    );
    machine.ok(&["cp", "/repository/apt/unit-exporter.sources", "/etc/apt/sources.list.d/"]);
    let update = machine.exec(&["apt-get", "update", "--error-on=any"]);
    assert!(text(&update).contains("BADSIG"), "{}", text(&update));
    assert_ne!(update.status.code(), Some(0));

    provide(&machine, &repositories().first);
    machine.ok(&["apt-get", "update"]);
    change("for deb in /repository/apt/pool/*.deb; do echo >> $deb; done");
    let install = machine.exec(&["apt-get", "install", "-y", "unit-exporter"]);
    assert_eq!(install.status.code(), Some(100), "{}", text(&install));
    assert!(text(&install).contains("Unable to fetch some archives"), "{}", text(&install));
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn dnf_installs_upgrades_and_removes() {
    let machine = with_dnf();
    let before = traces(&machine);
    machine.ok(&["sh", "-ec", &commands("dnf")]);
    let exporter = installed(&machine);
    assert_complete(&exporter);
    let owner = machine.ok(&[
        "stat",
        "--format=%U:%G %a",
        "/etc/unit-exporter/web.yml",
        "/usr/bin/unit-exporter",
    ]);
    assert_eq!(owner, "root:unit-exporter 640\nroot:root 755\n");
    let groups = machine.ok(&["id", "--name", "--groups", "unit-exporter"]);
    assert_eq!(groups.trim(), "unit-exporter systemd-journal");

    machine.write("etc/default/unit-exporter", "ARGS=\"--log.format=json\"\n");
    let old = exporter.pid();
    let crashes = Crashes::start(&machine, &exporter);
    provide(&machine, &repositories().newer);
    machine.ok(&["dnf", "upgrade", "-y", "--refresh"]);
    assert_eq!(machine.ok(&["rpm", "-q", "--queryformat=%{VERSION}", "unit-exporter"]), NEWER);
    eventually("the service restarts", || (exporter.pid() != old).then_some(()));
    let exporter = exporter.ready();
    assert_complete(&exporter);
    crashes.are_all_counted(&machine, &exporter);
    assert!(exporter.log().contains("\"level\":\"INFO\""), "{}", exporter.log());

    // an upgrade does not enable or start a disabled service
    machine.ok(&["systemctl", "disable", "--now", "--quiet", SERVICE]);
    machine.ok(&["dnf", "reinstall", "-y", "unit-exporter"]);
    assert_eq!(text(&machine.exec(&["systemctl", "is-enabled", SERVICE])), "disabled\n");
    assert!(machine.tcp(9558).is_err());

    machine.ok(&["systemctl", "enable", "--now", "--quiet", SERVICE]);
    machine.ok(&["dnf", "remove", "-y", "unit-exporter"]);
    assert!(machine.tcp(9558).is_err());
    assert_eq!(machine.ok(&["systemctl", "--failed", "--plain", "--no-legend"]), "");
    // as every rpm, this one leaves its user and the settings that were changed
    machine.ok(&[
        "sh",
        "-ec",
        "rm /etc/yum.repos.d/unit-exporter.repo; rm -r /var/cache/dnf /var/lib/dnf; userdel unit-exporter",
    ]);
    machine.ok(&["rm", "/etc/default/unit-exporter.rpmsave"]);
    assert_eq!(traces(&machine), before);
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn dnf_rejects_package_and_index_that_are_not_signed() {
    let machine = with_dnf();
    let unsigned = built("x86_64.rpm");
    let name = unsigned.file_name().expect("a name").to_str().expect("text");
    machine.ok(&["cp", "/repository/rpm/unit-exporter.repo", "/etc/yum.repos.d/"]);
    fs::copy(&unsigned, machine.path(&format!("repository/rpm/packages/{name}"))).expect("a copy");
    let install = machine.exec(&["dnf", "install", "-y", "unit-exporter"]);
    assert!(!install.status.success(), "{}", text(&install));
    machine.ok(&["sh", "-ec", "echo >> /repository/rpm/repodata/repomd.xml"]);
    let update = machine.exec(&["dnf", "makecache", "-y", "--refresh"]);
    assert!(!update.status.success(), "{}", text(&update));
    assert!(text(&update).contains("GPG"), "{}", text(&update));
}

fn apt(suite: &str) {
    let machine = with_repository(suite);
    copy(&repositories().newer, &machine.path("repository.newer"));
    let way = Way {
        install: &commands("apt"),
        upgrade: "rm -r /repository; mv /repository.newer /repository; apt-get update; apt-get upgrade -y",
        reinstall: "apt-get install -y --reinstall unit-exporter",
        remove: "apt-get remove -y unit-exporter",
        purge: "apt-get purge -y unit-exporter; rm /etc/apt/sources.list.d/unit-exporter.sources; \
                apt-get update",
    };
    install_upgrade_purge(&machine, &way);
}

/// A Debian machine with the repositories in /repository.
fn with_repository(suite: &str) -> Machine {
    let machine = boot(suite);
    only_repository(&machine);
    machine
}

/// Provides the repositories, and removes all others, as the machine has no network.
pub(crate) fn only_repository(machine: &Machine) {
    let others = "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*";
    machine.ok(&["sh", "-ec", others]);
    provide(machine, &repositories().first);
}

/// A machine with dnf and rpm, in which one rpm stands for all files that Debian's packages have installed.
fn with_dnf() -> Machine {
    let machine = Machine::options().root(tree("dnf", "bookworm", &["dnf", "rpm"])).boot();
    provide(&machine, &repositories().first);
    fs::copy(&repositories().debian, machine.path("debian.rpm")).expect("a copy");
    machine.ok(&["rpm", "--install", "/debian.rpm"]);
    machine.write("etc/dnf/dnf.conf", "[main]\nassumeyes=1\n");
    machine.ok(&["mkdir", "-p", "/etc/yum.repos.d"]);
    machine
}

/// Replaces the files that the host reads from the address of the repositories.
pub(crate) fn provide(machine: &Machine, repository: &Path) {
    machine.ok(&["rm", "-rf", "/repository"]);
    copy(repository, &machine.path("repository"));
}

fn copy(from: &Path, to: &Path) {
    succeeds(Command::new("cp").arg("-r").arg(from).arg(to));
}

/// The commands of this section of docs/install.md, with a `curl` that copies files of this host.
fn commands(section: &str) -> String {
    let start = format!("### Install with {section}\n");
    let text = INSTALL.split_once(&start).expect("a section").1;
    let text = text.split_once("```console\n").expect("commands").1;
    let lines = text.lines().map_while(|line| line.strip_prefix("# "));
    let commands: Vec<&str> = lines.collect();
    assert!(commands.len() > 1, "{commands:?}");
    let commands = commands.join("\n").replace(ADDRESS, "/repository");
    format!("curl() {{ cp \"$3\" \"$2\"; }}\n{commands}")
}

/// Signed repositories with the built packages, and with newer ones.
pub(crate) struct Repositories {
    pub(crate) first: PathBuf,
    pub(crate) newer: PathBuf,
    /// An rpm that provides the requirements of ours.
    debian: PathBuf,
}

pub(crate) fn repositories() -> &'static Repositories {
    static REPOSITORIES: OnceLock<(TempDir, Repositories)> = OnceLock::new();
    &REPOSITORIES.get_or_init(make_repositories).1
}

fn make_repositories() -> (TempDir, Repositories) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let (first, newer, packages) = (path("first"), path("newer"), path("packages"));
    let debian = path("debian.rpm");
    fs::create_dir(&packages).expect("a directory");
    copy(&newer_deb().join("."), &packages);
    newer_rpm(&packages);
    debian_rpm(&debian);

    let keys = path("keys");
    fs::create_dir(&keys).expect("a directory");
    succeeds(Command::new("chmod").arg("700").arg(&keys));
    let gpg = |program: &str, arguments: &[&str]| {
        succeeds(Command::new(program).args(arguments).env("GNUPGHOME", &keys));
    };
    let generate = ["--batch", "--passphrase", "", "--quick-generate-key", KEY, "rsa3072", "sign"];
    gpg("gpg", &generate);
    for (repository, source) in [(&first, Path::new("target/package")), (&newer, &packages)] {
        let mut script = Command::new("scripts/repository");
        script.arg(source).current_dir(env!("CARGO_MANIFEST_DIR"));
        script.env("GNUPGHOME", &keys).env("SIGNING_KEY", KEY);
        script.env("REPOSITORY", repository).env("PACKAGES_URL", "file:///repository");
        succeeds(&mut script);
    }
    gpg("gpgconf", &["--kill", "gpg-agent"]);
    (directory, Repositories { first, newer, debian })
}

/// Our rpm with a newer version, of the same files.
fn newer_rpm(directory: &Path) {
    let source = tempfile::tempdir().expect("a directory");
    let script = "ln -s \"$0\"/* . && rm target && mkdir -p target/package/tree && \
        rpm2archive - < \"$1\" | tar -xz -C target/package/tree";
    let mut shell = Command::new("sh");
    shell.args(["-ec", script, env!("CARGO_MANIFEST_DIR")]).arg(built("x86_64.rpm"));
    succeeds(shell.current_dir(source.path()));
    let mut cargo = Command::new("cargo");
    cargo.args(["generate-rpm", "--target", TARGET, "--set-metadata"]);
    cargo.arg(format!("version = \"{NEWER}\"")).arg("--output").arg(directory);
    succeeds(cargo.current_dir(source.path()).env_remove("CARGO_TARGET_DIR"));
}

/// An empty rpm that provides all that ours requires, as the files are there from Debian's packages. As RHEL 9, it declares
/// no users and groups.
fn debian_rpm(path: &Path) {
    let mut requires = Command::new("rpm");
    let requires =
        succeeds(requires.args(["-q", "--requires", "--package"]).arg(built("x86_64.rpm")));
    let provides: Vec<String> = requires
        .lines()
        .filter(|line| {
            !["rpmlib(", "config(", "user(", "group("].iter().any(|kind| line.starts_with(kind))
        })
        .map(|line| format!("Provides: {}", line.replace(">=", "=")))
        .collect();
    let spec = format!(
        "Name: debian\nVersion: 12\nRelease: 1\nSummary: files of Debian's packages\nLicense: none\n\
         BuildArch: noarch\n{}\n%description\nProvides files of Debian's packages.\n%files\n",
        provides.join("\n")
    );
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("debian.spec");
    fs::write(&source, spec).expect("a file");
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild
        .args(["-bb", "--quiet", "--define"])
        .arg(format!("_topdir {}", directory.path().display()));
    rpmbuild.args(["--define", "_rpmfilename debian.rpm"]).arg(&source);
    succeeds(&mut rpmbuild);
    fs::copy(directory.path().join("RPMS/debian.rpm"), path).expect("a copy");
}

const INSTALL: &str = include_str!("../../docs/install.md");
const ADDRESS: &str = "https://unit-exporter.github.io/unit-exporter/packages";
const KEY: &str = "unit-exporter-test@example.org";
const TARGET: &str = "x86_64-unknown-linux-gnu";
