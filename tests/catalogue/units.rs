//! Unit files that the tests share.

/// Unit files by name.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let own = |text: &str| text.to_owned();
    let sleeps = |before: &str| format!("{before}{SLEEP}");
    vec![
        ("all-set.service", own(ALL_SET)),
        ("redis-server.service", sleeps("") + "[Install]\nAlias=redis.service\n"),
        ("laravel-queue.service", sleeps("[Unit]\nWants=redis.service\n")),
        ("bound-queue.service", sleeps("[Unit]\nBindsTo=redis.service\n")),
        ("strict-queue.service", sleeps("[Unit]\nRequisite=redis.service\n")),
        ("beat.timer", own("[Timer]\nOnActiveSec=1s\nOnUnitActiveSec=1s\nAccuracySec=1us\n")),
        // No start limit: systemd 262 keeps starting the service beyond the limit, and each start is a failed job.
        ("beat.service", format!("[Unit]\nStartLimitIntervalSec=0\n{ONCE}")),
        ("weekly.timer", own(WEEKLY)),
        ("weekly.service", own(ONCE)),
        ("both.timer", own("[Timer]\nOnCalendar=yearly\nOnActiveSec=1h\nUnit=weekly.service\n")),
        ("thrice.timer", own("[Timer]\nOnActiveSec=1s\nOnUnitInactiveSec=1s\nAccuracySec=1us\n")),
        ("thrice.service", own("[Service]\nType=oneshot\nExecStart=/bin/echo ran\n")),
        ("echo.socket", own("[Socket]\nListenStream=7007\nAccept=yes\nMaxConnections=2\n")),
        ("echo@.service", own("[Service]\nExecStart=/bin/cat\nStandardInput=socket\n")),
        ("lazy.socket", own("[Socket]\nListenStream=7008\nService=weekly.service\n")),
        ("never.service", sleeps("[Unit]\nConditionPathExists=/nowhere\n")),
        ("neither.service", sleeps("[Unit]\nConditionPathExists=/nowhere\n")),
        ("boxed.service", sleeps("") + BOXED),
        ("talks.service", own(TALKS)),
        ("slow.service", own("[Service]\nType=oneshot\nExecStart=/bin/sleep 60\n")),
        (
            "once.service",
            own(
                "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
            ),
        ),
        ("fails.service", own(FAILS)),
        ("needs.service", sleeps("[Unit]\nRequires=fails.service\nAfter=fails.service\n")),
        (
            "flood.socket",
            own("[Socket]\nListenStream=7009\nTriggerLimitBurst=1\nTriggerLimitIntervalSec=60\n"),
        ),
        ("flood.service", own(ONCE)),
        ("all.target", format!("[Unit]\nWants={LOADED}\n")),
    ]
}

/// Units that all.target wants, so that they stay loaded when they are stopped.
const LOADED: &str = "strict-queue.service bound-queue.service all-set.service boxed.service \
    never.service neither.service talks.service \
    once.service needs.service flood.socket";

pub(crate) const SLEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

const FAILS: &str = "[Unit]
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=/bin/false
";

pub(crate) const ONCE: &str = "[Service]\nType=oneshot\nExecStart=/bin/true\n";

const WEEKLY: &str = "[Timer]\nOnCalendar=weekly\nAccuracySec=5s\nRandomizedDelaySec=30s\n";

const BOXED: &str = "PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
NoNewPrivileges=yes
SystemCallFilter=@system-service
RestrictNamespaces=yes
RestrictAddressFamilies=none
";

const TALKS: &str = "[Service]
IPAccounting=yes
ExecStart=/usr/bin/python3 /opt/talks.py
";

/// Sends a few packets to itself.
pub(crate) const TALKS_SCRIPT: &str = r#"
import socket, time
talker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
talker.bind(("127.0.0.1", 7999))
for _ in range(20):
    talker.sendto(b"x" * 500, ("127.0.0.1", 7999))
time.sleep(1e6)
"#;

const ALL_SET: &str = "[Unit]
StartLimitBurst=4
StartLimitIntervalSec=90
[Service]
Type=notify
ExecStart=/usr/bin/python3 /opt/all-set.py
ExecReload=/bin/false
Restart=on-failure
RestartSec=7.5
User=nobody
Slice=odd.slice
WatchdogSec=20
FileDescriptorStoreMax=3
NotifyAccess=all
";

/// Stores two descriptors with systemd, sends an errno, then sends watchdog pings.
pub(crate) const ALL_SET_SCRIPT: &str = r#"
import array, os, socket, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
for _ in range(2):
    one, _other = os.pipe()
    keep = array.array("i", [one])
    notify.sendmsg([b"FDSTORE=1\nFDNAME=kept"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, keep)])
notify.send(b"READY=1\nERRNO=5")
while True:
    notify.send(b"WATCHDOG=1")
    time.sleep(1)
"#;
