//! T17, T18 and T21: access by unix socket, a configuration file that keeps changing, oversized requests.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::support::{EXPORTER_INSIDE, Machine, Samples, eventually, machine};
use crate::{megabytes, resident};

#[test]
fn unix_socket_is_accessible_to_its_group_only() {
    let machine = machine();
    machine.units(&[
        (
            "guarded.socket",
            "[Socket]\nListenStream=/run/guarded.sock\nSocketMode=0660\nSocketGroup=systemd-journal\n",
        ),
        ("guarded.service", &format!("[Service]\nExecStart={EXPORTER_INSIDE} --web.systemd-socket\n")),
    ]);
    machine.ok(&["systemctl", "start", "guarded.socket"]);
    let curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"];
    let status = |groups: &str| {
        let user = ["setpriv", "--reuid=65534", "--regid=65534", groups];
        let url = ["--unix-socket", "/run/guarded.sock", "http://localhost/metrics"];
        let output = machine.exec(&[&user[..], &curl, &url].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let group = machine.ok(&["getent", "group", "systemd-journal"]);
    let group = format!("--groups={}", group.split(':').nth(2).expect("a number"));
    eventually("the group has access", || (status(&group) == "200").then_some(()));
    assert_eq!(status("--clear-groups"), "000");
    machine.ok(&["systemctl", "stop", "guarded.socket", "guarded.service"]);
}

#[test]
fn config_swapped_during_requests_never_admits_unlisted_users() {
    let machine = machine();
    let dir = machine.path("/opt/swapped");
    fs::create_dir_all(&dir).expect("a directory");
    for (user, file) in [("alice", "a.yml"), ("bob", "b.yml")] {
        let hash = bcrypt::hash(user, 4).expect("a hash");
        fs::write(dir.join(file), format!("basic_auth_users: {{{user}: {hash}}}\n"))
            .expect("a file");
    }
    // targets that block, are no regular file, or are too large
    machine.ok(&["mkfifo", "/opt/swapped/fifo"]);
    fs::create_dir_all(dir.join("directory")).expect("a directory");
    fs::write(dir.join("large"), vec![b'#'; 8 << 20]).expect("a file");
    let swap = |target: &str| {
        let new = dir.join("new");
        symlink(target, &new).expect("a link");
        fs::rename(&new, dir.join("web.yml")).expect("a rename");
    };
    swap("a.yml");
    let (port, unit) = (9500, "swapped");
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let config = "--web.config.file=/opt/swapped/web.yml";
    machine.ok(&["systemd-run", "--quiet", "--unit", unit, EXPORTER_INSIDE, &listen, config]);
    // alice:alice, bob:bob, alice:bob, an empty user and password
    let logins =
        ["Basic YWxpY2U6YWxpY2U=", "Basic Ym9iOmJvYg==", "Basic YWxpY2U6Ym9i", "Basic Og=="];
    let status = |login: &str| {
        let headers = [("authorization", login)];
        machine.get(port, "/metrics", &headers).map(|response| response.status).ok()
    };
    eventually("alice is admitted", || (status(logins[0]) == Some(200)).then_some(()));
    let stop = AtomicBool::new(false);
    let (mut counts, mut slowest) = ([[0_u32; 3]; 4], Duration::ZERO);
    thread::scope(|scope| {
        scope.spawn(|| {
            for target in [
                "b.yml",
                "a.yml",
                "fifo",
                "b.yml",
                "large",
                "/dev/zero",
                "a.yml",
                "nowhere",
                "directory",
            ]
            .iter()
            .cycle()
            {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                swap(target);
                thread::sleep(Duration::from_millis(3));
            }
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(8) {
            for (login, counts) in logins.iter().zip(&mut counts) {
                let sent = Instant::now();
                let column = match status(login).expect("a response") {
                    200 => 0,
                    401 => 1,
                    500 => 2,
                    status => panic!("{login}: {status}"),
                };
                counts[column] += 1;
                slowest = slowest.max(sent.elapsed());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    eprintln!(
        "200, 401, 500 for alice, bob, a wrong password, none: {counts:?}; at most {slowest:?}"
    );
    assert!(slowest < Duration::from_secs(10), "reading the configuration blocks");
    assert!(counts[0][0] > 0 && counts[1][0] > 0, "a listed user is never admitted");
    assert_eq!((counts[2][0], counts[3][0]), (0, 0), "an unlisted user is admitted");
    assert!(counts.iter().all(|counts| counts[2] > 0), "an invalid file never rejects all");
    for (target, expected) in [("a.yml", [200, 401]), ("b.yml", [401, 200]), ("fifo", [500, 500])] {
        swap(target);
        assert_eq!([status(logins[0]), status(logins[1])], expected.map(Some), "{target}");
    }
    machine.ok(&["systemctl", "stop", unit]);
}

#[test]
fn oversized_requests_are_rejected_without_memory_growth() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&[]);
    let status = |path: &str| exporter.get(path, &[]).status;
    for _warm in 0..50 {
        status("/metrics");
    }
    let codes = |samples: &Samples| -> Vec<_> {
        let codes = samples.all("unit_exporter_http_requests_total", &[]);
        codes.map(|sample| sample.label("code").to_owned()).collect()
    };
    let before_codes = codes(&exporter.samples());
    let (before, _) = resident(exporter.pid());
    let hundred_thousand = format!("/metrics?{}", "collect[]=x&".repeat(100_000));
    let megabyte = format!("/metrics?x={}", "y".repeat(1 << 20));
    for round in 0..20 {
        assert_eq!(status(&hundred_thousand), 431);
        assert_eq!(status(&megabyte), 431);
        assert_eq!(status(&format!("/{}", "z/".repeat(1 << 19))), 431);
        // as many filters as fit into a request head
        assert_eq!(status(&format!("/metrics?{}", "collect[]=x&".repeat(1200))), 400);
        assert_eq!(status(&format!("/metrics?{}", "name[]=x&".repeat(1200))), 400);
        assert_eq!(status("/metrics?collect[]=nonsense"), 400);
        assert_eq!(status("/metrics?exclude[]=nonsense"), 400);
        // unknown metric names: empty responses, which must not be cached
        for n in 0..50 {
            let names: String = (0..200).map(|m| format!("name[]=no_{round}_{n}_{m}&")).collect();
            let response = exporter.get(&format!("/metrics?{names}"), &[]);
            assert_eq!((response.status, response.text()), (200, ""));
        }
        for path in ["/?q=", "/?sort=", "/?%00=", "/unit/", "/api/v1/events?unit="] {
            let status = status(&format!("{path}{}", "%22%3E%0A".repeat(900)));
            assert!([200, 400, 404].contains(&status), "{path}: {status}");
        }
    }
    let (after, peak) = resident(exporter.pid());
    eprintln!(
        "resident {} before, {} after, {} peak",
        megabytes(before),
        megabytes(after),
        megabytes(peak)
    );
    assert!(after < before + (16 << 20), "memory grows");
    assert_eq!(codes(&exporter.samples()), before_codes, "new status codes");
}
