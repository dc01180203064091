"""Breaks something in the demo that runs, and tells which metrics move and which alerts fire, and when.

breaks.py BREAK DIRECTORY EXPORTER PROMETHEUS

It ends with 0 if what has to move moved and what has to fire fired, and has become quiet again after mending.
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

# Far beyond what it takes, for slow machines.
LIMIT = 180
PERIOD = 0.25


def main():
    name, directory, exporter, prometheus = sys.argv[1:]
    machine = Machine(directory)
    the_break = BREAKS[name]
    watch = Watch(the_break, exporter, prometheus)
    if alerts := watch.alerts():
        print(f"Waiting for what is amiss already: {', '.join(sorted(alerts))}\n")
        watch.until(lambda: not watch.alerts(), tell=False)
    print(f"{the_break.title}\n")
    print(the_break.story + "\n")
    watch.start()
    with the_break.do(machine):
        complete = watch.until(watch.is_complete)
    if not complete:
        sys.exit(f"demo: not within {LIMIT} s: {', '.join(watch.missing())}")
    print(f"\n{watch.summary()}\nMended; now until it is quiet.\n")
    if not watch.until(watch.is_quiet):
        sys.exit(f"demo: still not quiet {LIMIT} s later")
    print("\nQuiet again.")


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

    def forget_jobs(self):
        if self.is_laravel:
            self.run("redis-cli", "FLUSHALL")
        else:
            self.run("python3", "/opt/examples/small/worker.py", "forget")


@dataclass
class Break:
    title: str
    story: str
    do: Callable
    # Series to look at, as in PromQL; those with ! have to move.
    series: list
    # Alerts that have to fire; every other one is shown, too.
    alerts: set


@contextlib.contextmanager
def crash(machine):
    machine.dispatch(20, "segv")
    try:
        yield
    finally:
        machine.forget_jobs()


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
        machine.forget_jobs()


QUEUE = 'name="laravel-queue.service"'
REVERB = 'name="laravel-reverb.service"'
REDIS = 'name="redis-server.service"'

BREAKS = {
    "crash": Break(
        "laravel-queue crashes: twenty jobs, each of which kills its worker with SIGSEGV",
        "systemd starts it again after 5 s each time, so it is never `failed` for longer than a moment.",
        crash,
        [
            "!systemd_service_failures_by_result_total{%s}" % QUEUE,
            "!systemd_service_restart_total{%s}" % QUEUE,
            'systemd_service_main_exits_total{%s,code="killed"}' % QUEUE,
            'systemd_unit_state{%s,state="active"}' % QUEUE,
        ],
        {"SystemdServiceCrashLooping"},
    ),
    "slow-listener": Break(
        "laravel-reverb stands still (SIGSTOP) while 60 clients connect to port 6001",
        "To systemd it is active and well. Its accept queue fills, and what finds no room is dropped.",
        slow_listener,
        [
            '!systemd_listener_accept_queue_length{%s,port="6001"}' % REVERB,
            'systemd_listener_accept_queue_limit{%s,port="6001"}' % REVERB,
            '!systemd_listener_drops_total{%s,port="6001"}' % REVERB,
            'systemd_unit_state{%s,state="active"}' % REVERB,
        ],
        {"SystemdListenerAcceptQueueFilling"},
    ),
    "redis-down": Break(
        "redis cannot start: left-over.service, which somebody forgot, has taken port 6379",
        "systemd gives redis up after some attempts, and laravel-queue, which needs it, crashes again and again.",
        redis_down,
        [
            '!systemd_unit_state{%s,state="active"}' % REDIS,
            "!systemd_service_given_up{%s}" % REDIS,
            '!systemd_listener_missing{%s,port="6379"}' % REDIS,
            'systemd_listener_info{port="6379"}',
            "!systemd_unit_unmet_dependencies{%s}" % QUEUE,
            "systemd_service_failures_by_result_total{%s}" % QUEUE,
            'systemd_unit_journal_messages_total{%s,priority="err"}' % QUEUE,
        ],
        {"SystemdServiceGivenUp", "SystemdListenerMissing"},
    ),
    "oom": Break(
        "A job of laravel-queue starts a program that wants 512 MiB; MemoryMax= is 128 MiB",
        "The kernel kills that program alone (OOMPolicy=continue); the service goes on and stays active.",
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
    """What the exporter shows and what Prometheus says, told as it changes."""

    def __init__(self, the_break, exporter, prometheus):
        self.exporter, self.prometheus = exporter, prometheus
        self.series = [series.lstrip("!") for series in the_break.series]
        self.must_move = {series[1:] for series in the_break.series if series.startswith("!")}
        self.must_fire = the_break.alerts
        # When, in seconds since the break.
        self.moved, self.fired = {}, {}
        self.before = self.shown()
        self.values = dict(self.before)
        self.states = {}
        self.begin = time.monotonic()

    def start(self):
        self.begin = time.monotonic()
        print(f"{'seconds':>9}  what")
        for series, value in self.values.items():
            print(f"{'before':>9}  {series} {value}")
        for selector in self.series:
            if not any(matches(selector, series) for series in self.values):
                print(f"{'before':>9}  {selector} (no such series)")

    def until(self, is_done, tell=True):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            if tell:
                self.look()
            if is_done():
                return True
            time.sleep(PERIOD)
        return False

    def is_complete(self):
        return not self.missing()

    def missing(self):
        return sorted(self.must_move - self.moved.keys() | self.must_fire - self.fired.keys())

    def summary(self):
        moved = [f"{series} after {self.moved[series]:.1f} s" for series in sorted(self.must_move)]
        fired = [f"{alert} after {self.fired[alert]:.1f} s" for alert in sorted(self.must_fire)]
        return f"Moved: {', '.join(moved)}.\nFired: {', '.join(fired)}."

    def is_quiet(self):
        """Whether nothing is pending or fires, and every unit is in the state that it was in before."""
        states = {series for series in self.before if series.startswith("systemd_unit_state{")}
        return not self.states and all(self.values.get(series) == self.before[series] for series in states)

    def look(self):
        values, alerts = self.shown(), self.alerts()
        now = time.monotonic() - self.begin
        for series in sorted(values.keys() | self.values.keys()):
            before, after = self.values.get(series, "(none)"), values.get(series, "(none)")
            if before != after:
                self.tell(now, f"{series} {before} → {after}")
                for selector in self.must_move:
                    if matches(selector, series):
                        self.moved.setdefault(selector, now)
        for alert in sorted(alerts.keys() | self.states.keys()):
            before, after = self.states.get(alert, "quiet"), alerts.get(alert, "quiet")
            if before != after:
                self.tell(now, f"alert {alert} {before} → {after.upper() if after == 'firing' else after}")
                if after == "firing":
                    self.fired.setdefault(alert.split("{")[0], now)
        self.values, self.states = values, alerts

    @staticmethod
    def tell(now, what):
        print(f"{now:9.1f}  {what}", flush=True)

    def shown(self):
        """The series of the break on the exporter's page, with their values."""
        lines = (line.rpartition(" ") for line in get(self.exporter + "/metrics").splitlines())
        return {
            series: value
            for series, _, value in lines
            if any(matches(selector, series) for selector in self.series)
        }

    def alerts(self):
        """The alerts that are pending or fire, with their state."""
        answer = json.loads(get(self.prometheus + "/api/v1/alerts"))
        states = {}
        for alert in answer["data"]["alerts"]:
            labels = alert["labels"]
            about = ",".join(f'{label}="{labels[label]}"' for label in ("name", "port") if label in labels)
            states[labels["alertname"] + (about and f"{{{about}}}")] = alert["state"]
        return states


def matches(selector, series):
    """Whether a line's series is one that the selector, a name and equal labels, selects."""
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
