"""Breaks a service of the running demo and prints, with times, which metrics change and which alerts fire.

breaks.py BREAK DIRECTORY EXPORTER PROMETHEUS

The exit status is 0 if the expected metrics changed, the expected alerts fired, and both recovered after the repair.
"""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

# In seconds; long enough for slow machines.
TIMEOUT = 180
POLL_INTERVAL = 0.25


def main():
    name, directory, exporter, prometheus = sys.argv[1:]
    machine = Machine(directory)
    the_break = BREAKS[name]
    watch = Watch(the_break, exporter, prometheus)
    if alerts := watch.alerts():
        print(f"Waiting for active alerts to resolve: {', '.join(sorted(alerts))}\n")
        watch.until(lambda: not watch.alerts(), report=False)
    print(f"{the_break.title}\n")
    print(the_break.story + "\n")
    watch.start()
    with the_break.do(machine):
        complete = watch.until(watch.is_complete)
    if not complete:
        sys.exit(f"demo: missing after {TIMEOUT} s: {', '.join(watch.missing())}")
    print(f"\n{watch.summary()}\nRepaired; waiting for recovery.\n")
    if not watch.until(watch.has_recovered):
        sys.exit(f"demo: not recovered after {TIMEOUT} s")
    print("\nRecovered.")


class Machine:
    """The private systemd of the demo."""

    def __init__(self, directory):
        self.directory = directory
        self.is_laravel = Path(directory, "examples").read_text().strip() == "laravel"

    def command(self, *command):
        return ["tests/support/booted", "exec", self.directory, *command]

    def run(self, *command):
        result = subprocess.run(self.command(*command), capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"demo: {' '.join(command)}: {result.stderr or result.stdout}")

    def dispatch(self, jobs, mode):
        if self.is_laravel:
            artisan = ["env", "--chdir=/var/www/app", "php", "artisan", "demo:dispatch"]
            self.run(*artisan, str(jobs), f"--mode={mode}")
        else:
            self.run("python3", "/opt/examples/small/worker.py", "dispatch", str(jobs), mode)

    def clear_queue(self):
        if self.is_laravel:
            self.run("redis-cli", "FLUSHALL")
        else:
            self.run("python3", "/opt/examples/small/worker.py", "clear")


@dataclass
class Break:
    title: str
    story: str
    do: Callable
    # Series to watch, as in PromQL; those with ! must change.
    series: list
    # Alerts that must fire; all others are shown too.
    alerts: set


@contextlib.contextmanager
def crash(machine):
    machine.dispatch(20, "segv")
    try:
        yield
    finally:
        machine.clear_queue()


@contextlib.contextmanager
def slow_listener(machine):
    machine.run("systemctl", "kill", "--signal=STOP", "laravel-reverb")
    clients = machine.command("python3", "/opt/examples/demo/clients.py")
    with subprocess.Popen(clients, stdin=subprocess.PIPE) as clients:
        try:
            yield
        finally:
            clients.stdin.close()
            machine.run("systemctl", "kill", "--signal=CONT", "laravel-reverb")


@contextlib.contextmanager
def redis_down(machine):
    machine.run("systemctl", "stop", "redis-server")
    thief = ["python3", "/opt/examples/demo/thief.py"]
    machine.run("systemd-run", "--quiet", "--unit=left-over", "--property=Type=notify", *thief)
    subprocess.run(machine.command("systemctl", "start", "redis-server"), capture_output=True)
    try:
        yield
    finally:
        machine.run("systemctl", "stop", "left-over")
        machine.run("systemctl", "reset-failed", "redis-server")
        machine.run("systemctl", "start", "redis-server")


@contextlib.contextmanager
def oom(machine):
    machine.dispatch(1, "memory")
    try:
        yield
    finally:
        machine.clear_queue()


QUEUE = 'name="laravel-queue.service"'
REVERB = 'name="laravel-reverb.service"'
REDIS = 'name="redis-server.service"'

BREAKS = {
    "crash": Break(
        "laravel-queue crashes: twenty queue jobs, each of which kills its worker with SIGSEGV",
        "systemd restarts the service after 5 s each time, so the state `failed` never lasts longer than a moment.",
        crash,
        [
            "!systemd_service_failures_by_result_total{%s}" % QUEUE,
            "!systemd_service_restart_total{%s}" % QUEUE,
            'systemd_service_main_process_exits_total{%s,code="killed"}' % QUEUE,
            'systemd_unit_state{%s,state="active"}' % QUEUE,
        ],
        {"SystemdServiceCrashLooping"},
    ),
    "slow-listener": Break(
        "laravel-reverb is stopped (SIGSTOP) while 60 clients connect to port 6001",
        "The unit stays active. Its accept queue fills up, and the kernel drops further connections.",
        slow_listener,
        [
            '!systemd_listener_accept_queue_length{%s,port="6001"}' % REVERB,
            'systemd_listener_accept_queue_limit{%s,port="6001"}' % REVERB,
            '!systemd_listener_drops_total{%s,port="6001"}' % REVERB,
            'systemd_unit_state{%s,state="active"}' % REVERB,
        ],
        {"SystemdListenerAcceptQueueNearLimit"},
    ),
    "redis-down": Break(
        "redis cannot start: a forgotten service, left-over.service, uses port 6379",
        "redis hits its start limit, and laravel-queue, which depends on redis, crashes repeatedly.",
        redis_down,
        [
            '!systemd_unit_state{%s,state="active"}' % REDIS,
            "!systemd_service_start_limit_hit{%s}" % REDIS,
            '!systemd_listener_missing{%s,port="6379"}' % REDIS,
            'systemd_listener_info{port="6379"}',
            "!systemd_unit_unmet_dependencies{%s}" % QUEUE,
            "systemd_service_failures_by_result_total{%s}" % QUEUE,
            'systemd_unit_journal_messages_total{%s,priority="err"}' % QUEUE,
        ],
        {"SystemdServiceStartLimitHit", "SystemdListenerMissing"},
    ),
    "oom": Break(
        "A queue job of laravel-queue starts a program that allocates 512 MiB; MemoryMax= is 256 MiB",
        "The kernel kills only that program (OOMPolicy=continue); the service stays active.",
        oom,
        [
            '!systemd_unit_memory_events_total{%s,event="oom_kill"}' % QUEUE,
            "systemd_unit_memory_peak_bytes{%s}" % QUEUE,
            'systemd_unit_state{%s,state="active"}' % QUEUE,
        ],
        {"SystemdServiceOomKilled"},
    ),
}


class Watch:
    """Reports changes of the exporter's series and of Prometheus' alerts."""

    def __init__(self, the_break, exporter, prometheus):
        self.exporter, self.prometheus = exporter, prometheus
        self.series = [series.lstrip("!") for series in the_break.series]
        self.must_change = {series[1:] for series in the_break.series if series.startswith("!")}
        self.must_fire = the_break.alerts
        # Times in seconds since the break.
        self.changed, self.fired = {}, {}
        self.before = self.shown()
        self.values = dict(self.before)
        self.states = {}
        self.begin = time.monotonic()

    def start(self):
        self.begin = time.monotonic()
        print(f"{'seconds':>9}  change")
        for series, value in self.values.items():
            print(f"{'before':>9}  {series} {value}")
        for selector in self.series:
            if not any(matches(selector, series) for series in self.values):
                print(f"{'before':>9}  {selector} (no such series)")

    def until(self, is_done, report=True):
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            if report:
                self.poll()
            if is_done():
                return True
            time.sleep(POLL_INTERVAL)
        return False

    def is_complete(self):
        return not self.missing()

    def missing(self):
        return sorted(self.must_change - self.changed.keys() | self.must_fire - self.fired.keys())

    def summary(self):
        changed = [f"{series} after {self.changed[series]:.1f} s" for series in sorted(self.must_change)]
        fired = [f"{alert} after {self.fired[alert]:.1f} s" for alert in sorted(self.must_fire)]
        return f"Changed: {', '.join(changed)}.\nFired: {', '.join(fired)}."

    def has_recovered(self):
        """Whether no alert is pending or firing, and every unit is in its previous state."""
        states = {series for series in self.before if series.startswith("systemd_unit_state{")}
        return not self.states and all(self.values.get(series) == self.before[series] for series in states)

    def poll(self):
        values, alerts = self.shown(), self.alerts()
        now = time.monotonic() - self.begin
        for series in sorted(values.keys() | self.values.keys()):
            before, after = self.values.get(series, "(none)"), values.get(series, "(none)")
            if before != after:
                self.report(now, f"{series} {before} → {after}")
                for selector in self.must_change:
                    if matches(selector, series):
                        self.changed.setdefault(selector, now)
        for alert in sorted(alerts.keys() | self.states.keys()):
            before, after = self.states.get(alert, "inactive"), alerts.get(alert, "inactive")
            if before != after:
                self.report(now, f"alert {alert} {before} → {after.upper() if after == 'firing' else after}")
                if after == "firing":
                    self.fired.setdefault(alert.split("{")[0], now)
        self.values, self.states = values, alerts

    @staticmethod
    def report(now, change):
        print(f"{now:9.1f}  {change}", flush=True)

    def shown(self):
        """The exported series of the break, with their values."""
        lines = (line.rpartition(" ") for line in get(self.exporter + "/metrics").splitlines())
        return {
            series: value
            for series, _, value in lines
            if any(matches(selector, series) for selector in self.series)
        }

    def alerts(self):
        """The pending and firing alerts, with their state."""
        answer = json.loads(get(self.prometheus + "/api/v1/alerts"))
        states = {}
        for alert in answer["data"]["alerts"]:
            labels = alert["labels"]
            about = ",".join(f'{label}="{labels[label]}"' for label in ("name", "port") if label in labels)
            states[labels["alertname"] + (about and f"{{{about}}}")] = alert["state"]
        return states


def matches(selector, series):
    """Whether a selector (a name and equal labels) matches a series."""
    name, labels = re.fullmatch(r"(\w+)\{(.*)\}", selector).groups()
    return series.startswith(name + "{") and all(
        f"{label}" in series for label in re.findall(r'\w+="[^"]*"', labels)
    )


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read().decode()
    except urllib.error.URLError as error:
        sys.exit(f"demo: {url}: {error}")


main()
