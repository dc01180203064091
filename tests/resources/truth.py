"""Prints the kernel's values for the given units, as a JSON list of [metric, labels, value].

Independent of the exporter's code and, where possible, of the files it reads: processes of a unit come from
/proc/PID/cgroup, threads and memory from /proc/PID/status, descriptors from a listing.
"""
import json
import os
import subprocess
import sys

ROOT = "/sys/fs/cgroup"
UNIFIED = os.path.exists(ROOT + "/cgroup.controllers")
STATES = {"R": "running", "S": "sleeping", "I": "sleeping", "D": "disk_sleep", "T": "stopped", "t": "stopped", "Z": "zombie"}


def read(path):
    try:
        with open(path, errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def keyed(text):
    return {line.split()[0]: int(line.split()[1]) for line in (text or "").splitlines()}


def show(unit, name):
    return subprocess.run(["systemctl", "show", "--value", "-p", name, unit], capture_output=True, text=True).stdout.strip()


def members(group):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for line in (read(f"/proc/{pid}/cgroup") or "").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and (path == group or path.startswith(group + "/")):
                yield int(pid)


def status(pid):
    return dict(line.split(":", 1) for line in (read(f"/proc/{pid}/status") or "").splitlines())


def soft_limit(pid, name):
    line = next(line for line in read(f"/proc/{pid}/limits").splitlines() if line.startswith(name))
    return line[len(name):].split()[0]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resources(unit, group):
    name = {"name": unit}
    v2 = (ROOT if UNIFIED else ROOT + "/unified") + group
    v1 = lambda controller, file: read(f"{ROOT}/{controller}{group}/{file}")
    cpu = keyed(read(v2 + "/cpu.stat"))
    yield "systemd_unit_cpu_seconds_total", {**name, "mode": "user"}, cpu["user_usec"] / 1e6
    yield "systemd_unit_cpu_seconds_total", {**name, "mode": "system"}, cpu["system_usec"] / 1e6
    for resource in ["cpu", "memory", "io"]:
        for line in (read(f"{v2}/{resource}.pressure") or "").splitlines():
            if (resource, line.split()[0]) == ("cpu", "full"):
                continue  # not exported
            metric = {"some": "waiting", "full": "stalled"}[line.split()[0]]
            total = int(line.rsplit("total=", 1)[1]) / 1e6
            yield f"systemd_unit_pressure_{metric}_seconds_total", {**name, "resource": resource}, total
    memory = v1("memory", "memory.usage_in_bytes") or read(v2 + "/memory.current")
    if memory:
        yield "systemd_unit_memory_current_bytes", name, int(memory)
    peak = v1("memory", "memory.max_usage_in_bytes") or read(v2 + "/memory.peak")
    if peak:
        yield "systemd_unit_memory_peak_bytes", name, int(peak)
    limit = (v1("memory", "memory.limit_in_bytes") or read(v2 + "/memory.max") or "max").strip()
    if limit != "max" and int(limit) < 1 << 60:
        yield "systemd_unit_memory_max_bytes", name, int(limit)
    stat = keyed(v1("memory", "memory.stat")) or keyed(read(v2 + "/memory.stat"))
    for kind, keys in [("anon", ["total_rss", "anon"]), ("file", ["total_cache", "file"]), ("kernel", ["kernel"])]:
        for key in keys:
            if key in stat:
                yield "systemd_unit_memory_stat_bytes", {**name, "kind": kind}, stat[key]
    events = keyed(v1("memory", "memory.oom_control")) or keyed(read(v2 + "/memory.events"))
    for event in ["high", "max", "oom", "oom_kill"]:
        # only kills have series while they are 0
        if events.get(event, 0) > 0 or event == "oom_kill" and event in events:
            yield "systemd_unit_memory_events_total", {**name, "event": event}, events[event]
    for file, metric in [("memory.high", "memory_high"), ("memory.swap.current", "swap_current"), ("memory.swap.max", "swap_max")]:
        text = (read(f"{v2}/{file}") or "max").strip()
        if text != "max":
            yield f"systemd_unit_{metric}_bytes", name, int(text)
    tasks = v1("pids", "pids.current") or read(v2 + "/pids.current")
    if tasks:
        yield "systemd_unit_tasks_current", name, int(tasks)
    hits = v1("pids", "pids.events") or read(v2 + "/pids.events")
    if hits:
        yield "systemd_unit_tasks_limit_hits_total", name, keyed(hits)["max"]
    if unit.endswith(".service") and show(unit, "TasksMax") != "infinity":
        yield "systemd_unit_tasks_max", name, int(show(unit, "TasksMax"))
    quota = v1("cpu", "cpu.cfs_quota_us")
    if quota and int(quota) > 0:
        yield "systemd_unit_cpu_quota_cores", name, int(quota) / int(v1("cpu", "cpu.cfs_period_us"))
        throttled = keyed(v1("cpu", "cpu.stat"))
        yield "systemd_unit_cpu_throttled_seconds_total", name, throttled["throttled_time"] / 1e9
        yield "systemd_unit_cpu_throttled_periods_total", name, throttled["nr_throttled"]
        yield "systemd_unit_cpu_periods_total", name, throttled["nr_periods"]
    elif (read(v2 + "/cpu.max") or "max").split()[0] != "max":
        quota, period = read(v2 + "/cpu.max").split()
        yield "systemd_unit_cpu_quota_cores", name, int(quota) / int(period)
        yield "systemd_unit_cpu_throttled_seconds_total", name, cpu["throttled_usec"] / 1e6
        yield "systemd_unit_cpu_throttled_periods_total", name, cpu["nr_throttled"]
        yield "systemd_unit_cpu_periods_total", name, cpu["nr_periods"]
    traffic = read(v2 + "/io.stat")
    for key, metric in [("rbytes", "read_bytes"), ("wbytes", "write_bytes"), ("rios", "read_operations"), ("wios", "write_operations")]:
        if traffic is not None:
            total = sum(int(word.split("=")[1]) for word in traffic.split() if word.startswith(key + "="))
            yield f"systemd_unit_io_{metric}_total", name, total
    for file, suffix in [("io_service_bytes", "bytes"), ("io_serviced", "operations")]:
        text = v1("blkio", f"blkio.throttle.{file}_recursive")
        if text and ":" in text:
            for operation in ["Read", "Write"]:
                words = [line.split() for line in text.splitlines()]
                total = sum(int(word[2]) for word in words if len(word) == 3 and word[1] == operation)
                yield f"systemd_unit_io_{operation.lower()}_{suffix}_total", name, total


def processes(unit, group):
    name = {"name": unit}
    pids = list(members(group))
    if not pids:
        return
    statuses = {pid: status(pid) for pid in pids}
    states = [STATES[status["State"].split()[0]] for status in statuses.values()]
    for state in set(states):
        yield "systemd_unit_processes", {**name, "state": state}, states.count(state)
    yield "systemd_unit_threads", name, sum(int(status["Threads"]) for status in statuses.values())
    yield "systemd_unit_resident_memory_bytes", name, sum(int(status["VmRSS"].split()[0]) << 10 for status in statuses.values())
    yield "systemd_unit_open_fds", name, sum(map(descriptors, pids))
    yield "systemd_unit_worst_fd_ratio", name, max(descriptors(pid) / int(soft_limit(pid, "Max open files")) for pid in pids)
    start_time = lambda pid: boot_time() + int(read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    yield "systemd_unit_oldest_process_start_timestamp_seconds", name, min(map(start_time, pids))
    main = int(show(unit, "MainPID") or 0)
    if main:
        times = read(f"/proc/{main}/stat").rsplit(")", 1)[1].split()
        yield "systemd_process_cpu_seconds_total", name, (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        yield "systemd_process_resident_memory_bytes", name, int(statuses[main]["VmRSS"].split()[0]) << 10
        yield "systemd_process_virtual_memory_bytes", name, int(statuses[main]["VmSize"].split()[0]) << 10
        if soft_limit(main, "Max address space") != "unlimited":
            yield "systemd_process_virtual_memory_max_bytes", name, int(soft_limit(main, "Max address space"))
        yield "systemd_process_open_fds", name, descriptors(main)
        yield "systemd_process_max_fds", name, int(soft_limit(main, "Max open files"))
        yield "systemd_process_threads", name, int(statuses[main]["Threads"])
        yield "systemd_process_start_time_seconds", name, start_time(main)


def boot_time():
    return next(int(line.split()[1]) for line in read("/proc/stat").splitlines() if line.startswith("btime "))


print(json.dumps([item for unit in sys.argv[1:] for part in (resources, processes) for item in part(unit, show(unit, "ControlGroup"))]))
