//! The release workflow: its commands, run in a clone of the repository with the built packages, without GitHub.
//!
//! Builds and tests that the workflow starts by make are tests themselves and not run here. `gh` is replaced by a script
//! that checks its files, the registry of images by a directory, and the crate is packed, not uploaded.

use serde_json::Value;

use super::*;

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn commands_of_the_release_workflow_run() {
    let release = Release::new();
    let workflow = workflow();
    let mut ran = Vec::new();
    for job in ["package", "crate", "website"] {
        for step in workflow["jobs"][job]["steps"].as_array().expect("steps") {
            let Some(commands) = step["run"].as_str() else { continue };
            if !run_by_make(commands) {
                release.run(commands, &step["env"]);
                ran.push(step["name"].as_str().expect("a name"));
            }
        }
    }
    let expected = [
        "The tag is the version in Cargo.toml and has a section in the changelog",
        "Release",
        "Push the image",
        "Publish the crate",
        "The apt and rpm repositories",
    ];
    assert_eq!(ran, expected);

    let released = fs::read_to_string(release.path("released")).expect("the files of the release");
    for end in
        ["_amd64.deb", ".x86_64.rpm", "linux-amd64.tar.gz", "linux-amd64.cdx.json", ".oci.tar"]
    {
        assert!(released.lines().any(|file| file.ends_with(end)), "no {end} in {released}");
    }
    let image = image::json_file(&release.path("registry/index.json"));
    let output = fs::read_to_string(release.path("output")).expect("the outputs");
    assert_eq!(
        output,
        format!("digest={}\n", image["manifests"][0]["digest"].as_str().expect("a digest"))
    );
    // the addresses in docs/install.md
    for file in
        ["apt/unit-exporter.sources", "apt/dists/stable/InRelease", "rpm/unit-exporter.repo"]
    {
        assert!(release.path("source/target/book/packages").join(file).exists(), "no {file}");
    }
}

#[test]
fn release_workflow_runs_targets_of_make() {
    let makefile = fs::read_to_string(in_project("Makefile")).expect("the Makefile");
    let workflow = workflow();
    let jobs = workflow["jobs"].as_object().expect("jobs").values();
    let steps = jobs.flat_map(|job| job["steps"].as_array().expect("steps"));
    let commands: Vec<&str> = steps.filter_map(|step| step["run"].as_str()).collect();
    let mut targets = 0;
    for line in commands.iter().flat_map(|commands| commands.lines()) {
        let Some((_, target)) = line.split_once("make ") else { continue };
        let target = target.split_whitespace().next().expect("a target");
        assert!(makefile.contains(&format!("\n{target}: ##")), "no target {target}");
        targets += 1;
    }
    assert!(targets > 4, "{targets} targets");
}

/// A clone of the repository in which the workflow runs, and what it writes.
struct Release {
    directory: TempDir,
}

impl Release {
    fn new() -> Self {
        let release = Self { directory: tempfile::tempdir().expect("a directory") };
        let source = release.path("source");
        let mut clone = Command::new("git");
        succeeds(clone.args(["clone", "--quiet", env!("CARGO_MANIFEST_DIR")]).arg(&source));
        fs::create_dir_all(source.join("target/book")).expect("a directory");
        image::image();
        let packages = in_project("target/package");
        succeeds(Command::new("cp").arg("-r").arg(packages).arg(source.join("target/")));
        fs::create_dir(release.path("bin")).expect("a directory");
        fs::write(release.path("bin/gh"), GH).expect("a script");
        fs::create_dir(release.path("keys")).expect("a directory");
        let script = "chmod 755 bin/gh; chmod 700 keys; export GNUPGHOME=$PWD/keys; \
            gpg --batch --quiet --passphrase '' --quick-generate-key release@example.org rsa3072 sign; \
            gpg --batch --armor --export-secret-keys > key; gpgconf --kill gpg-agent; rm -r keys; mkdir -m 700 keys";
        succeeds(Command::new("sh").args(["-ec", script]).current_dir(release.path("")));
        release
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the commands as GitHub does.
    fn run(&self, commands: &str, variables: &Value) {
        let mut shell = Command::new("bash");
        shell.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", commands]);
        for (name, value) in variables.as_object().into_iter().flatten() {
            shell.env(name, self.value(value.as_str().expect("text")));
        }
        let path = std::env::var("PATH").expect("PATH");
        shell
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("GITHUB_REF_NAME", format!("v{}", env!("CARGO_PKG_VERSION")))
            .env("GITHUB_OUTPUT", self.path("output"))
            .env("GNUPGHOME", self.path("keys"))
            .env("IMAGE", format!("oci:{}", self.path("registry").display()))
            .env("RELEASED", self.path("released"))
            .env("CARGO_PUBLISH_FLAGS", "--dry-run --no-verify")
            .env("CARGO_TARGET_DIR", self.path("crate"));
        succeeds(shell.current_dir(self.path("source")));
    }

    /// The value of an expression, as far as it does not come from GitHub.
    fn value(&self, expression: &str) -> String {
        match expression {
            "${{ secrets.SIGNING_KEY }}" => fs::read_to_string(self.path("key")).expect("a key"),
            "${{ github.token }}"
            | "${{ github.actor }}"
            | "${{ secrets.CARGO_REGISTRY_TOKEN }}" => "none".to_owned(),
            _ => panic!("the test has no value for {expression}"),
        }
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        let mut agent = Command::new("gpgconf");
        let _ = agent.args(["--kill", "gpg-agent"]).env("GNUPGHOME", self.path("keys")).output();
    }
}

/// Builds and tests of minutes.
fn run_by_make(commands: &str) -> bool {
    commands.lines().count() == 1 && (commands.starts_with("make ") || commands.contains(" make "))
}

fn workflow() -> Value {
    let text = fs::read_to_string(in_project(".github/workflows/release.yml")).expect("a file");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// Stands for GitHub's program: `gh release create TAG OPTION... -- FILE...` with files that exist.
const GH: &str = r#"#!/bin/bash
set -e
[ "$1 $2 $3" = "release create $GITHUB_REF_NAME" ]
while [ "$1" != -- ]; do shift; done
shift
for file in "$@"; do [ -s "$file" ]; done
printf '%s\n' "$@" > "$RELEASED"
"#;
