//! T17, T18 and T21: who may ask, what may be asked, and files that are not what they were a moment ago.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::support::{EXPORTER_INSIDE, Machine, Samples, eventually, machine};
use crate::{megabytes, resident};

#[test]
fn on_a_unix_socket_only_its_group_is_answered() {
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
    let ask = |groups: &str| {
        let who = ["setpriv", "--reuid=65534", "--regid=65534", groups];
        let at = ["--unix-socket", "/run/guarded.sock", "http://localhost/metrics"];
        let output = machine.exec(&[&who[..], &curl, &at].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let group = machine.ok(&["getent", "group", "systemd-journal"]);
    let group = format!("--groups={}", group.split(':').nth(2).expect("a number"));
    eventually("its group is answered", || (ask(&group) == "200").then_some(()));
    assert_eq!(ask("--clear-groups"), "000");
    machine.ok(&["systemctl", "stop", "guarded.socket", "guarded.service"]);
}

#[test]
fn a_configuration_that_is_swapped_all_the_time_lets_in_no_one_it_never_named() {
    let machine = machine();
    let folder = machine.path("/opt/swapped");
    fs::create_dir_all(&folder).expect("a folder");
    for (user, file) in [("alice", "a.yml"), ("bob", "b.yml")] {
        let hash = bcrypt::hash(user, 4).expect("a hash");
        fs::write(folder.join(file), format!("basic_auth_users: {{{user}: {hash}}}\n"))
            .expect("a file");
    }
    // neither is read to its end, nor waited for
    machine.ok(&["mkfifo", "/opt/swapped/fifo"]);
    fs::create_dir_all(folder.join("directory")).expect("a folder");
    fs::write(folder.join("large"), vec![b'#'; 8 << 20]).expect("a file");
    let swap = |to: &str| {
        let new = folder.join("new");
        symlink(to, &new).expect("a link");
        fs::rename(&new, folder.join("web.yml")).expect("a rename");
    };
    swap("a.yml");
    let (port, unit) = (9500, "swapped");
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let config = "--web.config.file=/opt/swapped/web.yml";
    machine.ok(&["systemd-run", "--quiet", "--unit", unit, EXPORTER_INSIDE, &listen, config]);
    // alice:alice, bob:bob, alice:bob, nobody at all
    let who = ["Basic YWxpY2U6YWxpY2U=", "Basic Ym9iOmJvYg==", "Basic YWxpY2U6Ym9i", "Basic Og=="];
    let status = |who: &str| {
        machine.get(port, "/metrics", &[("authorization", who)]).map(|answer| answer.status).ok()
    };
    eventually("it serves", || (status(who[0]) == Some(200)).then_some(()));
    let over = AtomicBool::new(false);
    let (mut seen, mut longest) = ([[0_u32; 3]; 4], Duration::ZERO);
    thread::scope(|scope| {
        scope.spawn(|| {
            for to in [
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
                if over.load(Ordering::Relaxed) {
                    return;
                }
                swap(to);
                thread::sleep(Duration::from_millis(3));
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(8) {
            for (who, seen) in who.iter().zip(&mut seen) {
                let asked = Instant::now();
                let at = match status(who).expect("an answer") {
                    200 => 0,
                    401 => 1,
                    500 => 2,
                    status => panic!("{who}: {status}"),
                };
                seen[at] += 1;
                longest = longest.max(asked.elapsed());
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    eprintln!(
        "200, 401, 500 for alice, bob, a wrong password, none: {seen:?}; at most {longest:?}"
    );
    assert!(longest < Duration::from_secs(10), "a file is waited for");
    assert!(seen[0][0] > 0 && seen[1][0] > 0, "each is let in while the file names them");
    assert_eq!((seen[2][0], seen[3][0]), (0, 0), "nobody else ever is");
    assert!(seen.iter().all(|seen| seen[2] > 0), "a file that is none lets nobody in");
    for (to, expected) in [("a.yml", [200, 401]), ("b.yml", [401, 200]), ("fifo", [500, 500])] {
        swap(to);
        assert_eq!([status(who[0]), status(who[1])], expected.map(Some), "{to}");
    }
    machine.ok(&["systemctl", "stop", unit]);
}

#[test]
fn questions_without_end_are_refused_and_nothing_is_kept_of_them() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&[]);
    let ask = |path: &str| exporter.get(path, &[]).status;
    for _warm in 0..50 {
        ask("/metrics");
    }
    let codes = |page: &Samples| -> Vec<_> {
        let codes = page.all("systemd_exporter_http_requests_total", &[]);
        codes.map(|sample| sample.label("code").to_owned()).collect()
    };
    let before_codes = codes(&exporter.samples());
    let (before, _) = resident(exporter.pid());
    let hundred_thousand = format!("/metrics?{}", "collect[]=x&".repeat(100_000));
    let megabyte = format!("/metrics?x={}", "y".repeat(1 << 20));
    for round in 0..20 {
        assert_eq!(ask(&hundred_thousand), 431);
        assert_eq!(ask(&megabyte), 431);
        assert_eq!(ask(&format!("/{}", "z/".repeat(1 << 19))), 431);
        // as many as fit into a head
        assert_eq!(ask(&format!("/metrics?{}", "collect[]=x&".repeat(1200))), 400);
        assert_eq!(ask(&format!("/metrics?{}", "name[]=x&".repeat(1200))), 400);
        assert_eq!(ask("/metrics?collect[]=nonsense"), 400);
        assert_eq!(ask("/metrics?exclude[]=nonsense"), 400);
        // names that are none: an empty page each, of which nothing stays
        for n in 0..50 {
            let names: String = (0..200).map(|m| format!("name[]=no_{round}_{n}_{m}&")).collect();
            let answer = exporter.get(&format!("/metrics?{names}"), &[]);
            assert_eq!((answer.status, answer.text()), (200, ""));
        }
        for page in ["/?q=", "/?sort=", "/?%00=", "/unit/", "/api/v1/events?unit="] {
            let status = ask(&format!("{page}{}", "%22%3E%0A".repeat(900)));
            assert!([200, 400, 404].contains(&status), "{page}: {status}");
        }
    }
    let (after, most) = resident(exporter.pid());
    eprintln!(
        "resident {} before, {} after, {} at most",
        megabytes(before),
        megabytes(after),
        megabytes(most)
    );
    assert!(after < before + (16 << 20), "something is kept");
    assert_eq!(codes(&exporter.samples()), before_codes, "one series a code");
}
