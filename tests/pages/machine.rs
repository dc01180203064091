//! A real host: a booted systemd, a crash in it, and the way from the page to its journal.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::browser::Browser;
use crate::support::{Machine, machine};

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_on_the_page_and_its_command_shows_what_the_run_said() {
    let machine = machine();
    machine.units(&[
        ("crash\\x2dloop.service", CRASHING),
        ("crash\\x2dloop.timer", "[Timer]\nOnCalendar=2030-01-01\n"),
    ]);
    let exporter = machine.exporter(&[]);
    machine.ok(&["systemctl", "start", "crash\\x2dloop.service"]);
    machine.ok(&["systemctl", "start", "crash\\x2dloop.timer"]);
    let address = forward(machine, exporter.port());
    let browser = Browser::open().await;
    browser.go(&format!("http://{address}/")).await;
    let shown = "document.querySelector('#crashes').textContent.includes('was given up')";
    browser.until("the crash is shown", shown).await;
    assert!(browser.text("#attention").await.contains("crash\\x2dloop.service failed, given up"));
    let command = browser.text("#crashes .cmd").await;
    let said = machine.ok(&["sh", "-c", &format!("journalctl --sync; {command} --output=cat")]);
    assert!(said.contains("last words"), "{command}: {said}");
    assert!(said.contains("status=5"), "systemd has its say: {said}");

    browser.click("#crashes a.name").await;
    assert_eq!(browser.text("h1").await, "crash\\x2dloop.service");
    // settings are asked for when a unit has come to rest
    let related = "document.querySelector('#facts').innerText.includes('Started by')";
    browser.until("its settings are known", related).await;
    let shown = browser.text("main").await;
    assert!(shown.contains("exit-code: 2") && shown.contains("exited, 5: 2"), "{shown}");
    assert!(shown.contains("Started by\ncrash\\x2dloop.timer"), "{shown}");
    for command in browser.texts(".commands .cmd").await {
        let output = machine.exec(&["sh", "-c", &format!("{command} > /dev/null")]);
        // systemctl status says by 3 that the unit does not run
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 3)), "{command}: {output:?}");
    }
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

/// A port out here that leads to one inside.
fn forward(machine: &'static Machine, port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for outside in listener.incoming().map_while(Result::ok) {
            let Ok(inside) = machine.tcp(port) else { break };
            for (mut from, mut to) in both_ways(outside, inside) {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    address
}

fn both_ways(one: TcpStream, other: TcpStream) -> [(TcpStream, TcpStream); 2] {
    let (one_too, other_too) = (one.try_clone().unwrap(), other.try_clone().unwrap());
    [(one, other), (other_too, one_too)]
}

/// Stays a while after its words: the journal asks the kernel whose process it is that spoke.
const CRASHING: &str = "[Unit]
StartLimitBurst=2
StartLimitIntervalSec=1h
[Service]
ExecStart=/bin/sh -c 'echo last words; sleep 1; exit 5'
Restart=always
RestartSec=50ms
";
