//! The image of `make image`: its content, and run by runc with the mounts and the rights of a pod.

use serde_json::{Value, json};

use super::*;

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn image_contains_only_the_static_program_for_each_platform() {
    let image = image();
    let index = json_file(&image.join("index.json"));
    let platforms = blob(&image, &index["manifests"][0]["digest"]);
    let platforms = platforms["manifests"].as_array().expect("a list of platforms");
    assert!(!platforms.is_empty());
    for platform in platforms {
        let manifest = blob(&image, &platform["digest"]);
        let config = blob(&image, &manifest["config"]["digest"]);
        assert_eq!(config["architecture"], platform["platform"]["architecture"]);
        assert_eq!(config["config"]["Entrypoint"], json!(["/unit-exporter"]));
        assert_eq!(config["config"]["User"], "65534:65534");
        let layers = manifest["layers"].as_array().expect("layers");
        let layers = layers.iter().map(|layer| blob_path(&image, &layer["digest"]));
        let files: Vec<String> =
            layers.map(|layer| succeeds(Command::new("tar").arg("-tf").arg(layer))).collect();
        assert_eq!(files, ["unit-exporter\n"]);
        println!("{}: {} bytes", platform["platform"], manifest["layers"][0]["size"]);
    }
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn image_is_the_same_when_it_is_built_again() {
    let sum = || {
        succeeds(Command::new("scripts/image").current_dir(env!("CARGO_MANIFEST_DIR")));
        succeeds(Command::new("sha256sum").arg(built(".oci.tar")))
    };
    let _image = image();
    assert_eq!(sum(), sum());
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn pod_of_the_kustomize_base_exports_all_but_the_journal() {
    let machine = with_runc();
    let pod = Pod::of_the_kustomize_base();
    let exporter = pod.run(&machine);
    let page = exporter.samples();
    assert_eq!(failing(&page), ["journal"]);
    let named = |name| [("name", name)];
    assert!(page.all("systemd_unit_cpu_seconds_total", &named("app.service")).count() > 0);
    assert!(page.value("systemd_process_resident_memory_bytes", &named("app.service")).is_some());
    let listener = [("name", "cri-containerd-pod.scope"), ("port", "9558")];
    assert!(page.value("systemd_listener_info", &listener).is_some());

    // counters continue when the container restarts
    let crashes = Crashes::start(&machine, &exporter);
    drop(exporter);
    crashes.are_remembered(&pod.run(&machine));
}

#[test]
#[ignore = "needs make package; make test-package runs it"]
fn pod_of_the_community_chart_exports_the_included_units() {
    let machine = with_runc();
    let exporter = Pod::of_the_community_chart().run(&machine);
    let page = exporter.samples();
    let mut names: Vec<&str> =
        page.all("systemd_unit_state", &[]).map(|sample| sample.label("name")).collect();
    names.dedup();
    assert_eq!(names, ["app.service", "dbus.service"]);
    assert_eq!(failing(&page), ["journal", "listeners"]);
    // the probes allow one second
    let start = Instant::now();
    assert_eq!(exporter.get("/", &[]).status, 200);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// The table in docs/kubernetes.md: each mount or right, and the collectors that fail without it.
#[test]
#[ignore = "needs make package; make test-package runs it"]
fn collectors_fail_without_the_mounts_that_they_need() {
    let machine = with_runc();
    let all = || {
        let mut pod = Pod::of_the_kustomize_base();
        for directory in ["/etc/machine-id", "/var/log/journal", "/run/log/journal"] {
            pod.binds.push((directory.to_owned(), directory.to_owned()));
        }
        let group = machine.ok(&["getent", "group", "systemd-journal"]);
        pod.groups.push(group.split(':').nth(2).expect("an id").parse().expect("a number"));
        pod
    };
    let complete = all().run(&machine).samples();
    assert_eq!(failing(&complete), [""; 0]);
    let lost = |what: &str, change: &dyn Fn(&mut Pod)| {
        let mut pod = all();
        change(&mut pod);
        let page = pod.run(&machine).samples();
        let lost = families(&complete).difference(&families(&page)).cloned().collect::<Vec<_>>();
        println!("without {what}: failing {:?}; absent {lost:?}", failing(&page));
        failing(&page)
    };
    let without = |path: &'static str| move |pod: &mut Pod| pod.binds.retain(|bind| bind.1 != path);
    let mut unready = all();
    unready.binds.retain(|bind| bind.1 != "/run/dbus");
    unready.start(&machine);
    let page = eventually("a response without the bus", || {
        let page = machine.get(9558, "/metrics", &[]).ok().filter(|page| page.status == 200)?;
        Some(Samples::parse(page.text()))
    });
    println!("without /run/dbus: failing {:?}", failing(&page));
    assert_eq!(machine.get(9558, "/-/ready", &[]).expect("a response").status, 503);
    assert_eq!(page.all("systemd_unit_state", &[]).count(), 0);
    machine.ok(&["systemctl", "stop", "pod"]);
    assert_eq!(lost("/sys/fs/cgroup", &without("/sys/fs/cgroup")), ["cgroup", "listeners"]);
    assert_eq!(lost("/etc/machine-id", &without("/etc/machine-id")), ["journal"]);
    assert_eq!(lost("/var/log/journal", &without("/var/log/journal")), ["journal"]);
    assert_eq!(lost("the group", &|pod| pod.groups.clear()), ["journal"]);
    assert_eq!(lost("hostPID", &|pod| pod.host_pid = false), [""; 0]);
}

/// The mounts and rights that the manifest of a pod gives to its container.
#[derive(Debug)]
struct Pod {
    arguments: Vec<String>,
    /// Directories of the host and where the container has them, read-only.
    binds: Vec<(String, String)>,
    /// Writable volumes of the pod.
    volumes: Vec<String>,
    groups: Vec<u32>,
    host_pid: bool,
    may_gain_privileges: bool,
}

impl Pod {
    /// As in packaging/kustomize.
    fn of_the_kustomize_base() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/kustomize/daemonset.yaml");
        let text = fs::read_to_string(path).expect("the manifest");
        let set: Value = serde_saphyr::from_str(&text).expect("YAML");
        let pod = &set["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsUser"], 65534);
        assert_eq!(pod["hostNetwork"], true);
        assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let string = |value: &Value| value.as_str().expect("a string").to_owned();
        let (mut binds, mut volumes) = (Vec::new(), Vec::new());
        for mount in list(&container["volumeMounts"]) {
            let all = list(&pod["volumes"]);
            let volume =
                all.iter().find(|volume| volume["name"] == mount["name"]).expect("a volume");
            match volume["hostPath"]["path"].as_str() {
                Some(path) => {
                    assert_eq!(mount["readOnly"], true, "{path} is read-only");
                    binds.push((path.to_owned(), string(&mount["mountPath"])));
                }
                None => volumes.push(string(&mount["mountPath"])),
            }
        }
        Self {
            arguments: list(&container["args"]).iter().map(string).collect(),
            binds,
            volumes,
            groups: Vec::new(),
            host_pid: pod["hostPID"] == true,
            may_gain_privileges: container["securityContext"]["allowPrivilegeEscalation"] != false,
        }
    }

    /// As charts/prometheus-systemd-exporter 0.5.2 of prometheus-community renders it with its default values, but for
    /// the included units.
    fn of_the_community_chart() -> Self {
        let arguments =
            ["--log.level=info", "--systemd.collector.unit-include=app.service|dbus.service"];
        let binds = [("/run/systemd", "/run/systemd"), ("/var/run/dbus", "/var/run/dbus")];
        Self {
            arguments: arguments.map(str::to_owned).to_vec(),
            binds: binds.map(|(host, inside)| (host.to_owned(), inside.to_owned())).to_vec(),
            volumes: Vec::new(),
            groups: vec![65534],
            host_pid: true,
            may_gain_privileges: true,
        }
    }

    fn run<'a>(&self, machine: &'a Machine) -> Exporter<'a> {
        self.start(machine);
        machine.exporter_of("pod.service", 9558)
    }

    fn start(&self, machine: &Machine) {
        machine.write("pod/config.json", self.config().to_string());
        let unit = [
            "systemd-run",
            "--unit",
            "pod",
            "--quiet",
            "--property",
            "ExecStopPost=-runc delete --force pod",
        ];
        let runc = ["runc", "--systemd-cgroup", "run", "--bundle", "/pod", "pod"];
        for volume in &self.volumes {
            machine.ok(&["mkdir", "-p", &format!("/volumes{volume}")]);
            machine.ok(&["chown", "65534:65534", &format!("/volumes{volume}")]);
        }
        machine.ok(&[&unit[..], &runc].concat());
    }

    /// The configuration of the container, with the mounts and masks that container runtimes add.
    fn config(&self) -> Value {
        let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
        let mut mounts = vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "gid=5"],
            ),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ];
        mounts.extend(self.binds.iter().map(|(host, inside)| {
            json!({"destination": inside, "type": "bind", "source": host, "options": ["rbind", "rprivate", "ro"]})
        }));
        mounts.extend(self.volumes.iter().map(|inside| {
            let source = format!("/volumes{inside}");
            json!({"destination": inside, "type": "bind", "source": source, "options": ["rbind", "rprivate"]})
        }));
        let mut namespaces = vec!["ipc", "mount", "cgroup"];
        namespaces.extend((!self.host_pid).then_some("pid"));
        let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
        let arguments: Vec<&str> = [
            &["/unit-exporter"][..],
            &self.arguments.iter().map(|text| &**text).collect::<Vec<_>>(),
        ]
        .concat();
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 65534, "gid": 65534, "additionalGids": self.groups},
                "args": arguments,
                "env": ["PATH=/"],
                "cwd": "/",
                "capabilities": {"bounding": [], "effective": [], "permitted": []},
                "noNewPrivileges": !self.may_gain_privileges,
            },
            "root": {"path": "rootfs", "readonly": true},
            "mounts": mounts,
            "linux": {
                "cgroupsPath": "kubepods.slice:cri-containerd:pod",
                "namespaces": namespaces,
                "maskedPaths": [
                    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                ],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        })
    }
}

/// A machine with runc and the image's files in /pod/rootfs.
fn with_runc() -> Machine {
    let image = image();
    let index = json_file(&image.join("index.json"));
    let platforms = blob(&image, &index["manifests"][0]["digest"]);
    let platforms = platforms["manifests"].as_array().expect("a list of platforms");
    let ours = |platform: &&Value| platform["platform"]["architecture"] == "amd64";
    let manifest = blob(&image, &platforms.iter().find(ours).expect("amd64")["digest"]);
    let machine = Machine::options().root(tree("runc", "bookworm", &["runc"])).boot();
    let root = machine.path("pod/rootfs");
    fs::create_dir_all(&root).expect("a directory");
    for layer in manifest["layers"].as_array().expect("layers") {
        let layer = blob_path(&image, &layer["digest"]);
        succeeds(Command::new("tar").arg("-xf").arg(layer).arg("-C").arg(&root));
    }
    machine.unit("app.service", APP);
    machine.ok(&["systemctl", "start", "app"]);
    machine
}

/// The unpacked image, built by the first test that needs it.
pub(crate) fn image() -> PathBuf {
    static IMAGE: OnceLock<TempDir> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        succeeds(Command::new("scripts/image").current_dir(env!("CARGO_MANIFEST_DIR")));
        let directory = tempfile::tempdir().expect("a directory");
        let archive = built(".oci.tar");
        succeeds(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(directory.path()));
        directory
    });
    image.path().to_owned()
}

fn blob(image: &Path, digest: &Value) -> Value {
    json_file(&blob_path(image, digest))
}

fn blob_path(image: &Path, digest: &Value) -> PathBuf {
    image.join("blobs").join(digest.as_str().expect("a digest").replace(':', "/"))
}

pub(crate) fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// The collectors that fail, in alphabetical order.
pub(crate) fn failing(page: &Samples) -> Vec<String> {
    let failing =
        page.all("unit_exporter_collector_success", &[]).filter(|sample| sample.value == 0.0);
    let mut names: Vec<String> =
        failing.map(|sample| sample.label("collector").to_owned()).collect();
    names.sort();
    names
}

fn families(page: &Samples) -> BTreeSet<String> {
    page.0.iter().map(|sample| sample.name.clone()).collect()
}
