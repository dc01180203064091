//! Units with short-lived names, made by connections, containers and sessions: the name under which they
//! are summed.
//!
//! The name is that of the template, or what the names have in common up to a dash, as systemd names
//! drop-ins for such units: `docker-.scope.d`.

/// The name under which the unit is summed; `None` for a unit that keeps its own name.
#[must_use]
pub fn group(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let prefix = match kind {
        "service" => return Connection::parse(name).filter(|c| c.is_certain).map(|c| c.template()),
        "scope" => scope(stem)?,
        "slice" => slice(stem)?,
        "mount" => mount(stem)?,
        _ => return None,
    };
    Some(format!("{prefix}.{kind}"))
}

/// An instance that systemd made for a connection to a socket unit with `Accept=yes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The name up to the `@`, also that of the socket unit.
    pub stem: &'a str,
    /// Whether no other instance could have this name: it has the addresses of a connection. Names
    /// with the process and the user of a local client may also be chosen by people.
    pub is_certain: bool,
}

impl<'a> Connection<'a> {
    /// Parses the name of a service: `sshd@3-10.0.0.1:22-10.0.0.2:4711.service`, or for a local client
    /// with its process and user `echo@3-4711-1000.service`.
    #[must_use]
    pub fn parse(name: &'a str) -> Option<Self> {
        let (stem, instance) = name.strip_suffix(".service")?.split_once('@')?;
        let (number, client) = instance.split_once('-')?;
        if stem.is_empty() || !is_number(number) {
            return None;
        }
        let is_address = |text: &str| {
            let parts = text.rsplit_once(':');
            parts.is_some_and(|(address, port)| !address.is_empty() && is_number(port))
        };
        let mut ends = client.splitn(2, '-');
        let is_certain = ends.next().is_some_and(is_address) && ends.next().is_some_and(is_address);
        let is_local = || {
            // systemd 257 adds an id to the process: 4711_52
            let process = |text: &str| text.split('_').all(is_number);
            let parts = client.split_once('-');
            client == "unknown" || parts.is_some_and(|(pid, uid)| process(pid) && is_number(uid))
        };
        let is_date = number.len() == 4 && client.len() == 5;
        let is_connection = is_certain || (is_local() && !is_date);
        is_connection.then_some(Self { stem, is_certain })
    }

    /// The socket unit.
    #[must_use]
    pub fn socket(&self) -> String {
        format!("{}.socket", self.stem)
    }

    /// The template.
    #[must_use]
    pub fn template(&self) -> String {
        format!("{}@.service", self.stem)
    }
}

/// Containers, and sessions.
fn scope(stem: &str) -> Option<&str> {
    let (prefix, id) = split_last(stem)?;
    let is_session = prefix == "session-" && !id.is_empty();
    // machine-qemu\x2d1\x2dvm.scope has a name that people gave
    let is_container = is_id(id) && !["run-", "machine-"].contains(&prefix);
    (is_session || is_container).then_some(prefix)
}

/// Pods: kubepods-burstable-pod1234….slice; podman's: user-libpod_pod_<id>.slice.
fn slice(stem: &str) -> Option<&str> {
    let (prefix, id) = split_last(stem)?;
    let id = id.strip_prefix("pod").or_else(|| id.strip_prefix("libpod_pod_"))?;
    is_id(id).then_some(prefix)
}

/// Mounts of containers, snaps, credentials and sessions.
fn mount(stem: &str) -> Option<&'static str> {
    MOUNTS.into_iter().find(|prefix| stem.len() > prefix.len() && stem.starts_with(prefix))
}

/// The text up to the last dash, and after it.
fn split_last(stem: &str) -> Option<(&str, &str)> {
    let at = stem.rfind('-')? + 1;
    Some(stem.split_at(at))
}

/// Whether this is an id that a program made: 12 or more hex digits, some of them digits; the groups of
/// a UUID are separated by `_` or, escaped, by `\x2d`.
fn is_id(text: &str) -> bool {
    let text = text.replace("\\x2d", "_");
    let digits = text.bytes().filter(|byte| *byte != b'_');
    digits.clone().count() >= 12
        && digits.clone().all(|byte| byte.is_ascii_hexdigit())
        && digits.clone().any(|byte| byte.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The beginnings of the names of such mounts. `snap` itself is no such mount.
const MOUNTS: [&str; 14] = [
    "run-containerd-",
    "run-containers-",
    "run-credentials-",
    "run-docker-",
    "run-netns-",
    "run-snapd-ns-",
    "run-user-",
    "snap-",
    "var-lib-containerd-",
    "var-lib-containers-",
    "var-lib-docker-",
    "var-lib-kubelet-",
    "var-lib-snapd-snap-",
    "var-snap-",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_containers_connections_and_sessions_are_grouped() {
        let hex = "3f9d0a7be1c24d5f8a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b";
        let uid = "3f9d0a7b_e1c2_4d5f_8a6b_7c8d9e0f1a2b";
        for (name, expected) in [
            (format!("docker-{hex}.scope"), "docker-.scope"),
            (format!("libpod-{hex}.scope"), "libpod-.scope"),
            (format!("libpod-conmon-{hex}.scope"), "libpod-conmon-.scope"),
            (format!("crio-{hex}.scope"), "crio-.scope"),
            (format!("crio-conmon-{hex}.scope"), "crio-conmon-.scope"),
            (format!("cri-containerd-{hex}.scope"), "cri-containerd-.scope"),
            (format!("nerdctl-{hex}.scope"), "nerdctl-.scope"),
            ("session-17.scope".into(), "session-.scope"),
            ("session-c2.scope".into(), "session-.scope"),
            (format!("kubepods-pod{uid}.slice"), "kubepods-.slice"),
            (format!("kubepods-burstable-pod{uid}.slice"), "kubepods-burstable-.slice"),
            (format!("machine-libpod_pod_{hex}.slice"), "machine-.slice"),
            (format!("var-lib-docker-overlay2-{hex}-merged.mount"), "var-lib-docker-.mount"),
            ("run-docker-netns-5d1f0a9c.mount".into(), "run-docker-.mount"),
            ("run-netns-cni\\x2d1d2c.mount".into(), "run-netns-.mount"),
            (format!("var-lib-kubelet-pods-{uid}-volumes.mount"), "var-lib-kubelet-.mount"),
            ("snap-core22-1122.mount".into(), "snap-.mount"),
            ("run-credentials-a.service.mount".into(), "run-credentials-.mount"),
            ("run-user-1000.mount".into(), "run-user-.mount"),
            ("sshd@7-10.0.0.1:22-10.0.0.2:4711.service".into(), "sshd@.service"),
            ("echo@0-::1:7-fe80::1:4711.service".into(), "echo@.service"),
            ("vm@1-2:1024-3:99.service".into(), "vm@.service"),
        ] {
            assert_eq!(group(&name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn names_given_by_people_are_kept() {
        for name in [
            "docker.service",
            "docker-registry.scope",
            "init.scope",
            "machine-web.scope",
            "run-u7.service",
            "kubepods.slice",
            "kubepods-burstable.slice",
            "user-1000.slice",
            "system-getty.slice",
            "snap.mount",
            "var-lib-docker.mount",
            "var-lib-mysql.mount",
            "srv.mount",
            "backup@2026-11-30.service",
            "queue@1.service",
            "queue@1-2.service",
            "queue@1-a-b.service",
            "forward@db-10.0.0.1:5432.service",
            "deadbeefcafe.scope",
            "app-decade-facade.scope",
            "",
        ] {
            assert_eq!(group(name), None, "{name}");
        }
    }

    #[test]
    fn local_client_needs_its_socket_unit() {
        let local = Connection { stem: "echo", is_certain: false };
        for name in
            ["echo@3-4711-1000.service", "echo@3-4711_52-0.service", "echo@3-unknown.service"]
        {
            assert_eq!(Connection::parse(name), Some(local), "{name}");
        }
        assert_eq!(local.socket(), "echo.socket");
        assert_eq!(Connection::parse("echo@3-4711.service"), None);
        assert_eq!(Connection::parse("backup@2026-11-30.service"), None);
        assert_eq!(Connection::parse("@3-4711-1000.service"), None);
    }
}
