//! The SBOM: the same in every package and beside them, and the crates that the program itself lists.

use std::io::Read as _;

use serde_json::Value;

use super::*;

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn sbom_is_in_every_package_and_lists_the_crates_of_the_program() {
    for (deb, rpm, tarball) in PACKAGES {
        if *deb == "arm64.deb" && find_built(deb).is_none() {
            println!("no packages for arm64");
            continue;
        }
        let beside = fs::read(built(&tarball.replace("tar.gz", "cdx.json"))).expect("the SBOM");
        let directory = tempfile::tempdir().expect("a directory");
        let unpack = "dpkg-deb --extract \"$0\" deb; mkdir rpm tarball; rpm2archive - < \"$1\" | tar -xz -C rpm; \
            tar -xf \"$2\" -C tarball --strip-components=1";
        let mut shell = Command::new("sh");
        shell.args(["-ec", unpack]).args([built(deb), built(rpm), built(tarball)]);
        succeeds(shell.current_dir(directory.path()));
        for path in
            ["deb/usr/share/doc/unit-exporter", "rpm/usr/share/doc/unit-exporter", "tarball"]
        {
            let inside = fs::read(directory.path().join(path).join("sbom.cdx.json")).expect(path);
            assert!(inside == beside, "{path} of {deb} has another SBOM");
        }
        let sbom: Value = serde_json::from_slice(&beside).expect("JSON");
        assert_eq!(sbom["bomFormat"], "CycloneDX");
        assert_eq!(sbom["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
        let components = sbom["components"].as_array().expect("components");
        assert!(components.iter().all(|component| {
            let purl = component["purl"].as_str().expect("a package URL");
            purl.starts_with("pkg:cargo/") && component["licenses"][0].is_object()
        }));
        assert!(
            !String::from_utf8_lossy(&beside).contains(env!("CARGO_MANIFEST_DIR")),
            "a build path"
        );
        let listed: BTreeSet<_> = components.iter().map(name_and_version).collect();
        for program in
            ["deb/usr/bin/unit-exporter", "rpm/usr/bin/unit-exporter", "tarball/unit-exporter"]
        {
            let crates = crates(&directory.path().join(program));
            let ours = Value::from("unit-exporter");
            let of_kind = |build: bool| {
                let kinds = crates.iter().filter(|found| found["name"] != ours);
                let kinds = kinds.filter(|found| build || found["kind"] != "build");
                kinds.map(name_and_version).collect::<BTreeSet<_>>()
            };
            let missing: Vec<_> = of_kind(false).difference(&listed).cloned().collect();
            let foreign: Vec<_> = listed.difference(&of_kind(true)).cloned().collect();
            assert!(
                missing.is_empty(),
                "{program} is linked with {missing:?}, which the SBOM lacks"
            );
            println!(
                "{deb}, {program}: {} crates, in the SBOM only: {foreign:?}",
                of_kind(false).len()
            );
        }
    }
}

/// The list of crates that cargo-auditable adds to a program.
fn crates(program: &Path) -> Vec<Value> {
    let text = succeeds(Command::new("readelf").args(["--sections", "--wide"]).arg(program));
    let line = text.lines().find(|line| line.contains(" .dep-v0 ")).expect("a section of crates");
    let numbers: Vec<&str> =
        line.split(".dep-v0").nth(1).expect("columns").split_whitespace().collect();
    let number = |index: usize| usize::from_str_radix(numbers[index], 16).expect("a number");
    let bytes = fs::read(program).expect("the program");
    let compressed = &bytes[number(2)..number(2) + number(3)];
    let mut json = String::new();
    flate2::read::ZlibDecoder::new(compressed).read_to_string(&mut json).expect("zlib");
    let list: Value = serde_json::from_str(&json).expect("JSON");
    list["packages"].as_array().expect("packages").clone()
}

fn name_and_version(found: &Value) -> String {
    let text = |key: &str| found[key].as_str().expect("text").to_owned();
    format!("{} {}", text("name"), text("version"))
}

const PACKAGES: &[(&str, &str, &str)] = &[
    ("amd64.deb", "x86_64.rpm", "linux-amd64.tar.gz"),
    ("arm64.deb", "aarch64.rpm", "linux-arm64.tar.gz"),
];
