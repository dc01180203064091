//! A booted systemd: a crash on the status page, and its journal by the command shown there.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::browser::Browser;
use crate::support::{Machine, machine};

#[tokio::test(flavor = "multi_thread")]
async fn crash_is_shown_with_command_for_its_journal_entries() {
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
    let shown = "document.querySelector('#crashes').textContent.includes('start limit hit')";
    browser.until("the crash is shown", shown).await;
    assert!(
        browser.text("#attention").await.contains("crash\\x2dloop.service failed, start limit hit")
    );
    let command = browser.text("#crashes .cmd").await;
    let journal = machine.ok(&["sh", "-c", &format!("journalctl --sync; {command} --output=cat")]);
    assert!(journal.contains("last words"), "{command}: {journal}");
    assert!(journal.contains("status=5"), "no message of systemd: {journal}");

    browser.click("#crashes a.name").await;
    assert_eq!(browser.text("h1").await, "crash\\x2dloop.service");
    // settings are fetched once the unit's state has settled
    let related = "document.querySelector('#facts').innerText.includes('Triggered by')";
    browser.until("the unit's settings are shown", related).await;
    let shown = browser.text("main").await;
    assert!(shown.contains("exit-code: 2") && shown.contains("exited, 5: 2"), "{shown}");
    assert!(shown.contains("Triggered by\ncrash\\x2dloop.timer"), "{shown}");
    for command in browser.texts(".commands .cmd").await {
        let output = machine.exec(&["sh", "-c", &format!("{command} > /dev/null")]);
        // systemctl status exits with 3 if the unit is not running
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 3)), "{command}: {output:?}");
    }
    assert_eq!(browser.log_messages().await, [""; 0]);
    browser.close().await;
}

/// Forwards a port of the host to a port inside the machine.
fn forward(machine: &'static Machine, port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = machine.tcp(port) else { break };
            for (mut from, mut to) in both_directions(client, server) {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    address
}

fn both_directions(client: TcpStream, server: TcpStream) -> [(TcpStream, TcpStream); 2] {
    let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    [(client, server), (from_server, to_client)]
}

/// Sleeps after its output: journald looks up the unit of the process while it runs.
const CRASHING: &str = "[Unit]
StartLimitBurst=2
StartLimitIntervalSec=1h
[Service]
ExecStart=/bin/sh -c 'echo last words; sleep 1; exit 5'
Restart=always
RestartSec=50ms
";
