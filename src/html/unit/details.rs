//! The facts about a unit: settings, state, resource usage and counters.

use std::time::{Duration, SystemTime};

use super::super::View;
use super::super::human::{HumanBytes, HumanCount, HumanDuration, HumanTime, Percent, pluralize};
use super::super::unit_view::UnitView;
use super::super::writer::Html;
use super::{bytes_of, count_of, fact, facts, multi_fact, optional_fact, times};
use crate::source::Limit;
use crate::source::cgroup::{CpuMax, Pressure};
use crate::source::journal::Priority;
use crate::systemd::ledger::UnitCounters;
use crate::systemd::unit::value::{InvocationId, Timestamp};
use crate::systemd::unit::{Detail, Service, Socket, Timer};

pub(super) fn sections(view: &View<'_>, row: &UnitView<'_>, html: &mut Html) {
    facts("Unit", html, |html| unit(view, row, html));
    match &row.unit.detail {
        Detail::Service(service) => {
            facts("Service", html, |html| self::service(view, service, html))
        }
        Detail::Timer(timer) => facts("Timer", html, |html| self::timer(view, timer, html)),
        Detail::Socket(socket) => facts("Socket", html, |html| self::socket(socket, html)),
        Detail::Mount(mount) => facts("Mount", html, |html| {
            optional_fact("File system", mount.file_system.as_ref(), html);
        }),
        Detail::Path(_) | Detail::Other(_) | Detail::Target(_) | Detail::None => {}
    }
    facts("CPU", html, |html| cpu(view, row, html));
    facts("Memory", html, |html| memory(row, html));
    facts("I/O", html, |html| io(row, html));
    facts("Processes", html, |html| processes(view, row, html));
    facts("Main process", html, |html| main_process(view, row, html));
    facts("Pressure (PSI)", html, |html| pressure(row, html));
    facts("Journal messages", html, |html| logged(row, html));
    if let Some(account) = row.account {
        counters(view, account, html);
    }
}

fn unit(view: &View<'_>, row: &UnitView<'_>, html: &mut Html) {
    let unit = row.unit;
    multi_fact("Alias", &unit.aliases, html, |alias, html| {
        html.text(alias);
    });
    optional_fact("Load state", unit.load_state.as_ref(), html);
    // the others have it in their own section
    if matches!(unit.detail, Detail::Mount(_) | Detail::Path(_) | Detail::Other(_)) {
        optional_fact("Result", unit.result(), html);
    }
    let freezer = unit.freezer_state.as_ref().filter(|state| **state != "running");
    optional_fact("Freezer state", freezer, html);
    if unit.needs_reload == Some(true) {
        fact("Unit files", html, |html| {
            html.put("<span class=busy>changed on disk: run systemctl daemon-reload</span>");
        });
    }
    for (name, time) in [
        ("Became active", unit.active_enter),
        ("Left active", unit.active_exit),
        ("Left inactive", unit.inactive_exit),
        ("Became inactive", unit.inactive_enter),
    ] {
        moment(name, time, view.now, html);
    }
    optional_fact("Invocation ID", unit.run().map(InvocationId::hex), html);
    optional_fact("Control group", unit.control_group.as_ref(), html);
}

fn service(view: &View<'_>, service: &Service, html: &mut Html) {
    optional_fact("Type", service.service_type.as_ref(), html);
    optional_fact("User", service.user.as_ref().filter(|user| !user.is_empty()), html);
    optional_fact("Restart policy", service.restart.as_ref(), html);
    if service.is_restarted() {
        let delay = service.next_restart_delay.or(service.restart_delay);
        optional_fact("Restart delay", delay.map(HumanDuration), html);
        if let (Some(burst), Some(interval)) =
            (service.start_limit_burst, service.start_limit_interval)
        {
            fact("Start limit", html, |html| {
                html.text(pluralize(burst, "start", "starts"))
                    .put(" in ")
                    .text(HumanDuration(interval));
            });
        }
    }
    optional_fact("Watchdog timeout", service.watchdog.map(HumanDuration), html);
    if service.watchdog.is_some() {
        moment("Last watchdog ping", service.watchdog_ping, view.now, html);
    }
    optional_fact("Main PID", service.main_pid, html);
    moment("Main process started", service.main_start, view.now, html);
    moment("Main process exited", service.main_exit, view.now, html);
    optional_fact("Result", service.result.as_ref(), html);
    optional_fact("Restarts (NRestarts)", service.restarts.map(HumanCount), html);
    let reload = service.reload_result.as_ref().filter(|result| **result != "success");
    optional_fact("Last reload", reload, html);
    sandbox(service, html);
}

fn sandbox(service: &Service, html: &mut Html) {
    let settings: Vec<_> = service.sandbox.iter().collect();
    let off: Vec<_> =
        settings.iter().filter(|(_, is_on)| !is_on).map(|(setting, _)| *setting).collect();
    if settings.is_empty() {
        return;
    }
    fact("Sandbox", html, |html| {
        count_of((settings.len() - off.len()) as u64, Some(settings.len() as u64), html);
        if !off.is_empty() {
            html.put("<details id=sandbox><summary>not enabled</summary><small>");
            html.text(off.join(", ")).put("</small></details>");
        }
    });
}

fn timer(view: &View<'_>, timer: &Timer, html: &mut Html) {
    moment("Last trigger", timer.last_trigger, view.now, html);
    let monotonic =
        timer.next_monotonic.and_then(Timestamp::set).zip(view.snapshot.systemd.as_ref());
    // the earlier of both triggers the timer
    let monotonic = monotonic.map(|(Timestamp(micros), systemd)| {
        SystemTime::UNIX_EPOCH + systemd.boot_offset + Duration::from_micros(micros)
    });
    let realtime = timer.next_realtime.and_then(Timestamp::set).map(Timestamp::system_time);
    if let Some(next) = monotonic.into_iter().chain(realtime).min() {
        fact("Next trigger", html, |html| HumanTime(next).write(view.now, html));
    }
    optional_fact("Accuracy", timer.accuracy.map(HumanDuration), html);
    optional_fact("Randomized delay", timer.randomized_delay.map(HumanDuration), html);
    optional_fact("Result", timer.result.as_ref(), html);
}

fn socket(socket: &Socket, html: &mut Html) {
    multi_fact("Listens", &socket.listen, html, |(kind, address), html| {
        html.text(kind).put(" ").text(address);
    });
    optional_fact("One service per connection (Accept=)", socket.accept.map(yes_or_no), html);
    optional_fact("Accepted connections", socket.accepted.map(HumanCount), html);
    optional_fact("Open connections", socket.connections.map(HumanCount), html);
    optional_fact("Refused connections", socket.refused.map(HumanCount), html);
    optional_fact("Result", socket.result.as_ref(), html);
}

fn cpu(view: &View<'_>, row: &UnitView<'_>, html: &mut Html) {
    if let (Some(cpu), Some(cores)) = (view.cpu, row.cpu_cores) {
        fact("Current", html, |html| {
            html.text(Percent(cores)).put(" of a core, average of the last ");
            html.text(HumanDuration(cpu.interval));
        });
    }
    let Some(cgroup) = row.cgroup else { return };
    optional_fact("Total", row.cpu_time().map(HumanDuration), html);
    optional_fact("User mode", cgroup.cpu.user.map(HumanDuration), html);
    optional_fact("Kernel mode", cgroup.cpu.system.map(HumanDuration), html);
    if let Some(CpuMax::Quota { quota, period }) = cgroup.cpu.max {
        fact("Limit", html, |html| {
            html.text(Percent(quota.as_secs_f64() / period.as_secs_f64())).put(" of a core");
        });
    }
    if let (Some(throttled), Some(periods)) = (cgroup.cpu.nr_throttled, cgroup.cpu.nr_periods)
        && throttled > 0
    {
        fact("Throttled", html, |html| {
            html.text(HumanDuration(cgroup.cpu.throttled.unwrap_or_default())).put(", in ");
            html.text(HumanCount(throttled)).put(" of ").text(HumanCount(periods)).put(" periods");
        });
    }
}

fn memory(row: &UnitView<'_>, html: &mut Html) {
    if let Some(cgroup) = row.cgroup {
        let memory = &cgroup.memory;
        let limit = memory.max.and_then(Limit::number);
        if let Some(current) = memory.current {
            fact("Current", html, |html| bytes_of(current, limit, html));
        }
        optional_fact("Peak", memory.peak.map(HumanBytes), html);
        optional_fact(
            "Throttled above (MemoryHigh=)",
            memory.high.and_then(Limit::number).map(HumanBytes),
            html,
        );
        optional_fact("Anonymous", memory.stat_anon.map(HumanBytes), html);
        optional_fact("File cache", memory.stat_file.map(HumanBytes), html);
        optional_fact("Kernel", memory.stat_kernel.map(HumanBytes), html);
        if let Some(swap) = memory.swap_current {
            let limit = memory.swap_max.and_then(Limit::number).filter(|limit| *limit > 0);
            fact("Swap", html, |html| bytes_of(swap, limit, html));
        }
        let oom_kills = memory.events_oom_kill.filter(|kills| *kills > 0);
        optional_fact("OOM-killed processes", oom_kills.map(HumanCount), html);
        let at_limit = memory.events_max.filter(|times| *times > 0);
        optional_fact("Limit reached", at_limit.map(times), html);
    }
    let resident = row.processes.and_then(|processes| processes.resident_bytes);
    optional_fact("Resident, all processes", resident.map(HumanBytes), html);
}

fn io(row: &UnitView<'_>, html: &mut Html) {
    let Some(io) = row.cgroup.and_then(|cgroup| cgroup.io) else { return };
    for (name, bytes, operations) in [("Read", io.rbytes, io.rios), ("Written", io.wbytes, io.wios)]
    {
        fact(name, html, |html| {
            html.text(HumanBytes(bytes))
                .put(" in ")
                .text(HumanCount(operations))
                .put(" operations");
        });
    }
}

fn processes(view: &View<'_>, row: &UnitView<'_>, html: &mut Html) {
    if let Some(tasks) = row.tasks() {
        let limit = row.cgroup.and_then(|cgroup| cgroup.pids.max?.number());
        fact("Processes and threads", html, |html| count_of(tasks, limit, html));
    }
    let Some(processes) = row.processes else { return };
    let states = &processes.states;
    let states = [
        ("Running", states.running),
        ("Sleeping", states.sleeping),
        ("Uninterruptible sleep", states.disk_sleep),
        ("Stopped", states.stopped),
        ("Zombie", states.zombie),
        ("Other", states.other),
    ];
    for (name, count) in states {
        optional_fact(name, (count > 0).then_some(HumanCount(count)), html);
    }
    optional_fact("Open files", processes.open_fds.map(HumanCount), html);
    optional_fact("Highest share of a limit", processes.max_fds_ratio.map(Percent), html);
    if let Some(start) = processes.oldest_start_time {
        let start = SystemTime::UNIX_EPOCH + start;
        fact("Oldest process started", html, |html| HumanTime(start).write(view.now, html));
    }
    optional_fact(
        "Skipped",
        (processes.truncated > 0).then_some(HumanCount(processes.truncated)),
        html,
    );
}

fn main_process(view: &View<'_>, row: &UnitView<'_>, html: &mut Html) {
    let Some(main) = row.processes.and_then(|processes| processes.main.as_ref()) else { return };
    optional_fact("CPU", Some(HumanDuration(main.cpu)), html);
    optional_fact("Resident", Some(HumanBytes(main.resident_bytes)), html);
    let limit = main.virtual_max_bytes.and_then(Limit::number);
    fact("Address space", html, |html| bytes_of(main.virtual_bytes, limit, html));
    if let Some(files) = main.open_fds {
        let limit = main.max_fds.and_then(Limit::number);
        fact("Open files", html, |html| count_of(files, limit, html));
    }
    optional_fact("Threads", Some(HumanCount(main.threads)), html);
    if let Some(start) = main.start_time {
        let start = SystemTime::UNIX_EPOCH + start;
        fact("Started", html, |html| HumanTime(start).write(view.now, html));
    }
}

fn pressure(row: &UnitView<'_>, html: &mut Html) {
    let Some(cgroup) = row.cgroup else { return };
    let pressures = &cgroup.pressure;
    let mut line = |name, pressure: Option<Pressure>| {
        let Some(pressure) = pressure.filter(|pressure| !pressure.some.is_zero()) else { return };
        fact(name, html, |html| {
            html.put("some ").text(HumanDuration(pressure.some));
            if let Some(full) = pressure.full.filter(|full| !full.is_zero()) {
                html.put(", full ").text(HumanDuration(full));
            }
        });
    };
    line("CPU", pressures.cpu);
    line("Memory", pressures.memory);
    line("I/O", pressures.io);
}

fn logged(row: &UnitView<'_>, html: &mut Html) {
    let Some(logged) = row.logged else { return };
    for (priority, count) in Priority::ALL.into_iter().zip(logged.messages) {
        optional_fact(priority, (count.total > 0).then_some(HumanCount(count.total)), html);
    }
    let dumps: u64 = logged.core_dumps.values().map(|count| count.total).sum();
    optional_fact("Core dumps", (dumps > 0).then_some(HumanCount(dumps)), html);
    let dropped = logged.dropped.total;
    let dropped = (dropped > 0).then_some(HumanCount(dropped));
    optional_fact("Dropped by journald", dropped, html);
}

/// The counters of a unit since the exporter counts.
pub(super) fn counters(view: &View<'_>, account: &UnitCounters, html: &mut Html) {
    facts("Counters", html, |html| {
        let since = account.since.min(view.counted_since());
        fact("Since", html, |html| HumanTime(since).write(view.now, html));
        optional_fact("Starts", Some(HumanCount(account.starts)), html);
        optional_fact("State changes", Some(HumanCount(account.state_changes)), html);
        if account.restarts > 0 || account.failures.total > 0 {
            optional_fact("Automatic restarts", Some(HumanCount(account.restarts)), html);
            optional_fact("Failures", Some(HumanCount(account.failures.total)), html);
        }
        multi_fact(
            "Failures by result",
            &account.failures_by_result,
            html,
            |(result, counted), html| {
                html.text(result).put(": ").text(HumanCount(counted.total));
            },
        );
        multi_fact("Main process exits", &account.main_exits, html, |(exit, counted), html| {
            let (code, status) = exit;
            html.text(code.as_str())
                .put(", ")
                .text(status)
                .put(": ")
                .text(HumanCount(counted.total));
        });
        multi_fact(
            "Failed systemd jobs",
            &account.job_failures,
            html,
            |(result, counted), html| {
                html.text(result).put(": ").text(HumanCount(counted.total));
            },
        );
        optional_fact("Triggered", (account.triggers > 0).then(|| times(account.triggers)), html);
    });
}

fn moment(name: &'static str, time: Option<Timestamp>, now: SystemTime, html: &mut Html) {
    if let Some(time) = time.and_then(Timestamp::set) {
        fact(name, html, |html| HumanTime(time.system_time()).write(now, html));
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
