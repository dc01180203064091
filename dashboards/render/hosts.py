"""The hosts of the pictures: what each one runs, and what goes wrong on it."""

SERVICE = "/usr/bin/python3 -B /opt/render/service.py"


def service(description, arguments="", *, unit="", restart="on-failure", wanted=True, user="www-data", **settings):
    """A unit file around service.py."""
    lines = [f"[Unit]\nDescription={description}\n{unit}\n[Service]\nExecStart={SERVICE} {arguments}\nRestart={restart}"]
    lines += [f"User={user}", "LimitCORE=0"]
    if restart != "no":
        lines.append("Type=notify\nNotifyAccess=all")
    lines += [f"{name}={value}" for name, value in settings.items()]
    if wanted:
        lines.append("[Install]\nWantedBy=multi-user.target")
    return "\n".join(lines) + "\n"


def job(description, arguments, **settings):
    """A oneshot service that a timer starts."""
    return service(description, arguments, restart="no", wanted=False, Type="oneshot", **settings)


def timer(description, first, period):
    return (f"[Unit]\nDescription={description}\n[Timer]\nOnActiveSec={first}\nOnUnitActiveSec={period}\nAccuracySec=1s\n"
            "[Install]\nWantedBy=timers.target\n")


def calendar(description, calendar):
    return (f"[Unit]\nDescription={description}\n[Timer]\nOnCalendar={calendar}\nPersistent=no\n"
            "[Install]\nWantedBy=timers.target\n")


EVERYWHERE = {
    "cloud-init.service": "[Unit]\nDescription=Cloud-init: initial host configuration\nBefore=network-online.target\n"
    "DefaultDependencies=no\nAfter=sysinit.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 3.4\n"
    "[Install]\nWantedBy=multi-user.target\n",
    "ssh.service": service("OpenBSD Secure Shell server", "--listen 0.0.0.0:22:128", user="root", unit="After=cloud-init.service"),
    "cron.service": service("Regular background program processing daemon", "--log 6:60", user="root"),
    "chrony.service": service("chrony, an NTP client", "--log 6:90", user="root"),
    "node-exporter.service": service("Prometheus exporter for machine metrics", "--listen []:9100:1024 --memory 12", user="nobody"),
    "logrotate.service": job("Rotate log files", "--run 0.4", user="root"),
    "logrotate.timer": calendar("Daily rotation of log files", "daily"),
    "apt-daily.service": job("Daily apt download activities", "--run 2", user="root"),
    "apt-daily.timer": calendar("Daily apt download activities", "*-*-* 6,18:00"),
    "fstrim.service": job("Discard unused blocks on filesystems", "--run 1", user="root"),
    "fstrim.timer": calendar("Discard unused blocks once a week", "weekly"),
    "backup.service": job("Backup to the object store", "--run 14 --memory 30 --cpu 0.1", user="root"),
    "backup.timer": timer("Backup to the object store", "40s", "4min"),
}

WEB = {
    "nginx.service": service(
        "A high performance web server and a reverse proxy server",
        "--listen 0.0.0.0:80 --listen 0.0.0.0:443 --memory 18 --children 2 --cpu 0.02 --connect 6001:2 --log 6:4",
        LimitNOFILE=1024),
    "php8.2-fpm.service": service(
        "The PHP 8.2 FastCGI Process Manager", "--listen 127.0.0.1:9000 --memory 64 --children 6 --cpu 0.05 --files 60",
        unit="After=cloud-init.service\nBefore=nginx.service", ExecStartPre="/bin/sleep 0.9"),
    "laravel-reverb.service": service(
        "Laravel Reverb: WebSocket server of the shop",
        "--listen 0.0.0.0:6001:64 --accept-pause 1.1 --memory 40 --files 380 --cpu 0.03 --log 4:25:connection_limit_near",
        MemoryHigh="96M", MemoryMax="128M", TasksMax=64, LimitNOFILE=512),
    "laravel-queue@.service": service(
        "Laravel queue worker for %i", "--memory 36 --cpu 0.03 --log 6:5 --log 3:50:job_failed", restart="always", RestartSec=5,
        MemoryMax="96M", unit="StartLimitIntervalSec=0\nWants=redis-server.service"),
    "redis-server.service": service(
        "Advanced key-value store", "--listen 127.0.0.1:6379 --memory 28 --cpu 0.02 --connect 6379:1", TasksMax=128),
    "certbot.service": job("Certbot: renew certificates", "--run 3", user="root"),
    "certbot.timer": timer("Certbot: renew certificates", "100s", "5min"),
    "syslog-relay.socket": "[Unit]\nDescription=Relay of syslog messages\n[Socket]\nListenDatagram=127.0.0.1:5514\n"
    "[Install]\nWantedBy=sockets.target\n",
    "syslog-relay.service": service("Relay of syslog messages", wanted=False),
    "metrics-push.socket": "[Unit]\nDescription=Metrics of short-lived jobs\n[Socket]\nListenStream=127.0.0.1:9091\nAccept=yes\n"
    "[Install]\nWantedBy=sockets.target\n",
    "metrics-push@.service": "[Unit]\nDescription=Metrics of a short-lived job\n[Service]\nExecStart=-/bin/cat\n"
    "StandardInput=socket\nDynamicUser=yes\n",
    "shop-health.service": service("Health checks of the shop", "--connect 9091:0.3 --connect 80:2", user="nobody"),
}

DATABASE = {
    "postgresql@15-main.service": service(
        "PostgreSQL Cluster 15-main", "--listen 0.0.0.0:5432:244 --memory 120 --children 7 --cpu 0.06 --connect 5432:2 --log 6:8 --log 4:70",
        unit="After=cloud-init.service", ExecStartPre="/bin/sleep 2.1", MemoryHigh="256M", LimitNOFILE=4096),
    "redis-server.service": service(
        "Advanced key-value store", "--listen 0.0.0.0:6379 --memory 60 --cpu 0.03 --connect 6379:2", TasksMax=128),
    "pgbouncer.service": service("Connection pooler for PostgreSQL", "--listen 0.0.0.0:6432:128 --memory 8 --connect 6432:3",
                                 LimitNOFILE=256),
    "pg-vacuum.service": job("Vacuum of the largest tables", "--run 45 --cpu 0.25", user="root"),
    "pg-vacuum.timer": timer("Vacuum of the largest tables", "70s", "6min"),
}

HOSTS = {
    "web-1.example": {
        **EVERYWHERE, **WEB,
        "laravel-queue@emails.service.d/fail.conf": "[Service]\nExecStart=\n"
        f"ExecStart={SERVICE} --memory 36 --cpu 0.03 --log 6:5 --log 3:40:job_failed --fail exit:1@75\n",
    },
    "web-2.example": {
        **EVERYWHERE, **WEB,
        "search-index.service": service("Search index of the shop", "--memory 48 --cpu 0.04 --fail hang@150", WatchdogSec=20,
                                        RestartSec=10, unit="StartLimitIntervalSec=0"),
        "payments.service": service("Payments gateway", "--run 1 --fail exit:78@0.2", unit="StartLimitIntervalSec=600\nStartLimitBurst=3",
                                    RestartSec=40),
        "certbot.service": job("Certbot: renew certificates", "--fail exit:1@4", user="root"),
    },
    "jobs-1.example": {
        **EVERYWHERE,
        "redis-server.service": WEB["redis-server.service"],
        "laravel-queue@.service": WEB["laravel-queue@.service"],
        "laravel-queue@media.service.d/recycled.conf": "[Service]\nExecStart=\n"
        f"ExecStart={SERVICE} --memory 52 --cpu 0.05 --run 170\n",
        "laravel-scheduler.service": job("Laravel scheduler", "--run 5", user="www-data"),
        "laravel-scheduler.timer": timer("Laravel scheduler", "20s", "1min"),
        "image-resizer.service": service("Resizes uploaded images", "--memory 40 --cpu 0.12 --fail signal:11@95", RestartSec=3,
                                         CPUQuota="20%", unit="StartLimitIntervalSec=0"),
        "report-builder.service": service("Builds the reports of the shop", "--memory 30 --cpu 0.02 --fail memory@170", RestartSec=15,
                                          MemoryMax="80M", MemorySwapMax=0, unit="StartLimitIntervalSec=0"),
        "invoice-export.service": job("Export of invoices", "--run 600", user="www-data", TimeoutStartSec=90),
        "invoice-export.timer": timer("Export of invoices", "30s", "5min"),
    },
    "db-1.example": {**EVERYWHERE, **DATABASE},
}

# Instances of templates, which have no separate file.
INSTANCES = {
    "web-1.example": ["laravel-queue@default", "laravel-queue@emails"],
    "web-2.example": ["laravel-queue@default", "laravel-queue@emails"],
    "jobs-1.example": ["laravel-queue@default", "laravel-queue@emails", "laravel-queue@media"],
    "db-1.example": [],
}

# Collectors of panels that need them.
OPTIONAL = "--collector.dependencies --collector.listeners.connections"

ARGS = {
    "web-1.example": f"--expect-instances=laravel-queue@.service:2 {OPTIONAL} --expect-unit=nginx.service --expect-listener=laravel-reverb.service:tcp:6001 --expect-listener=nginx.service:tcp:443",
    "web-2.example": f"--expect-instances=laravel-queue@.service:2 {OPTIONAL} --expect-unit=nginx.service --expect-listener=laravel-reverb.service:tcp:6001 --expect-listener=payments.service:tcp:8443",
    "jobs-1.example": f"--expect-instances=laravel-queue@.service:3 {OPTIONAL} --expect-unit=laravel-queue@default.service --expect-listener=redis-server.service:tcp:6379",
    "db-1.example": "--expect-unit=postgresql@15-main.service --expect-listener=postgresql@15-main.service:tcp:5432",
}
