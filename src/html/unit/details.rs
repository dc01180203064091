//! What one unit is, does and takes.

use std::time::{Duration, SystemTime};

use super::super::View;
use super::super::human::{Bytes, Count, Lasting, Moment, Percent};
use super::super::unit_view::Row;
use super::super::writer::Html;
use super::{bytes_of, count_of, fact, facts, known_fact, several, times};
use crate::source::Limit;
use crate::source::cgroup::{CpuMax, Pressure};
use crate::source::journal::Priority;
use crate::systemd::ledger::UnitCounters;
use crate::systemd::unit::value::{InvocationId, Timestamp};
use crate::systemd::unit::{Detail, Service, Socket, Timer};

pub(super) fn sections(view: &View<'_>, row: &Row<'_>, html: &mut Html) {
    facts("Unit", html, |html| unit(view, row, html));
    match &row.unit.detail {
        Detail::Service(service) => {
            facts("Service", html, |html| self::service(view, service, html))
        }
        Detail::Timer(timer) => facts("Timer", html, |html| self::timer(view, timer, html)),
        Detail::Socket(socket) => facts("Socket", html, |html| self::socket(socket, html)),
        Detail::Mount(Some(fs)) => {
            facts("Mount", html, |html| known_fact("File system", Some(fs), html))
        }
        Detail::Mount(None) | Detail::None => {}
    }
    facts("CPU", html, |html| cpu(view, row, html));
    facts("Memory", html, |html| memory(row, html));
    facts("Input and output", html, |html| io(row, html));
    facts("Processes", html, |html| processes(view, row, html));
    facts("Main process", html, |html| main_process(view, row, html));
    facts("Waiting", html, |html| pressure(row, html));
    facts("Logged", html, |html| logged(row, html));
    if let Some(account) = row.account {
        counts(view, account, html);
    }
}

fn unit(view: &View<'_>, row: &Row<'_>, html: &mut Html) {
    let unit = row.unit;
    known_fact("Loaded", unit.load_state.as_ref(), html);
    if unit.needs_reload == Some(true) {
        fact("Its files", html, |html| {
            html.put("<span class=busy>have changed: systemctl daemon-reload</span>");
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
    known_fact("Last run", unit.run().map(InvocationId::hex), html);
    known_fact("Control group", unit.control_group.as_ref(), html);
}

fn service(view: &View<'_>, service: &Service, html: &mut Html) {
    known_fact("Type", service.service_type.as_ref(), html);
    known_fact("User", service.user.as_ref().filter(|user| !user.is_empty()), html);
    known_fact("Restart policy", service.restart.as_ref(), html);
    if service.is_restarted() {
        known_fact("Pause before a restart", service.restart_delay.map(Lasting), html);
        if let (Some(burst), Some(interval)) =
            (service.start_limit_burst, service.start_limit_interval)
        {
            fact("Start limit", html, |html| {
                html.text(Count(burst)).put(" in ").text(Lasting(interval));
            });
        }
    }
    known_fact("Watchdog", service.watchdog.map(Lasting), html);
    if service.watchdog.is_some() {
        moment("Last sign of life", service.watchdog_ping, view.now, html);
    }
    known_fact("Main PID", service.main_pid, html);
    moment("Main process began", service.main_start, view.now, html);
    moment("Main process ended", service.main_exit, view.now, html);
    known_fact("Result", service.result.as_ref(), html);
    known_fact("Restarts, by systemd's count", service.restarts.map(Count), html);
    let reload = service.reload_result.as_ref().filter(|result| **result != "success");
    known_fact("Last reload", reload, html);
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
            html.put("<details id=sandbox><summary>without</summary><small>");
            html.text(off.join(", ")).put("</small></details>");
        }
    });
}

fn timer(view: &View<'_>, timer: &Timer, html: &mut Html) {
    moment("Last elapsed", timer.last_trigger, view.now, html);
    let monotonic =
        timer.next_monotonic.and_then(Timestamp::set).zip(view.snapshot.systemd.as_ref());
    // the one that comes first counts
    let monotonic = monotonic.map(|(Timestamp(micros), systemd)| {
        SystemTime::UNIX_EPOCH + systemd.boot_offset + Duration::from_micros(micros)
    });
    let realtime = timer.next_realtime.and_then(Timestamp::set).map(Timestamp::system_time);
    if let Some(next) = monotonic.into_iter().chain(realtime).min() {
        fact("Elapses next", html, |html| Moment(next).both(view.now, html));
    }
    known_fact("Accuracy", timer.accuracy.map(Lasting), html);
    known_fact("Random delay", timer.randomized_delay.map(Lasting), html);
    known_fact("Result", timer.result.as_ref(), html);
}

fn socket(socket: &Socket, html: &mut Html) {
    several("Listens", &socket.listen, html, |(kind, address), html| {
        html.text(kind).put(" ").text(address);
    });
    known_fact("A service for each connection", socket.accept.map(yes_or_no), html);
    known_fact("Accepted", socket.accepted.map(Count), html);
    known_fact("Open now", socket.connections.map(Count), html);
    known_fact("Refused", socket.refused.map(Count), html);
    known_fact("Result", socket.result.as_ref(), html);
}

fn cpu(view: &View<'_>, row: &Row<'_>, html: &mut Html) {
    if let (Some(cpu), Some(share)) = (view.cpu, row.share) {
        fact("Now", html, |html| {
            html.text(Percent(share))
                .put(" of a processor, over the last ")
                .text(Lasting(cpu.over));
        });
    }
    let Some(cgroup) = row.cgroup else { return };
    known_fact("In all", row.cpu().map(Lasting), html);
    known_fact("In user mode", cgroup.cpu.user.map(Lasting), html);
    known_fact("In the kernel", cgroup.cpu.system.map(Lasting), html);
    if let Some(CpuMax::Quota { quota, period }) = cgroup.cpu.max {
        fact("Limit", html, |html| {
            html.text(Percent(quota.as_secs_f64() / period.as_secs_f64())).put(" of a processor");
        });
    }
    if let (Some(throttled), Some(periods)) = (cgroup.cpu.nr_throttled, cgroup.cpu.nr_periods)
        && throttled > 0
    {
        fact("Held back", html, |html| {
            html.text(Lasting(cgroup.cpu.throttled.unwrap_or_default())).put(", in ");
            html.text(Count(throttled)).put(" of ").text(Count(periods)).put(" periods");
        });
    }
}

fn memory(row: &Row<'_>, html: &mut Html) {
    if let Some(cgroup) = row.cgroup {
        let memory = &cgroup.memory;
        let limit = memory.max.and_then(Limit::number);
        if let Some(current) = memory.current {
            fact("Now", html, |html| bytes_of(current, limit, html));
        }
        known_fact("At most so far", memory.peak.map(Bytes), html);
        known_fact("Slowed down from", memory.high.and_then(Limit::number).map(Bytes), html);
        known_fact("Its own data", memory.stat_anon.map(Bytes), html);
        known_fact("Files in memory", memory.stat_file.map(Bytes), html);
        known_fact("The kernel's", memory.stat_kernel.map(Bytes), html);
        if let Some(swap) = memory.swap_current {
            let limit = memory.swap_max.and_then(Limit::number).filter(|limit| *limit > 0);
            fact("Swapped out", html, |html| bytes_of(swap, limit, html));
        }
        let ran_out = memory.events_oom_kill.filter(|kills| *kills > 0);
        known_fact("Processes killed for want of it", ran_out.map(Count), html);
        let at_limit = memory.events_max.filter(|times| *times > 0);
        known_fact("Reached its limit", at_limit.map(times), html);
    }
    let resident = row.processes.and_then(|processes| processes.resident_bytes);
    known_fact("Resident, of all processes", resident.map(Bytes), html);
}

fn io(row: &Row<'_>, html: &mut Html) {
    let Some(io) = row.cgroup.and_then(|cgroup| cgroup.io) else { return };
    for (name, bytes, operations) in [("Read", io.rbytes, io.rios), ("Written", io.wbytes, io.wios)]
    {
        fact(name, html, |html| {
            html.text(Bytes(bytes)).put(" in ").text(Count(operations)).put(" operations");
        });
    }
}

fn processes(view: &View<'_>, row: &Row<'_>, html: &mut Html) {
    if let Some(tasks) = row.tasks() {
        let limit = row.cgroup.and_then(|cgroup| cgroup.pids.max?.number());
        fact("Processes and threads", html, |html| count_of(tasks, limit, html));
    }
    let Some(processes) = row.processes else { return };
    let states = &processes.states;
    let states = [
        ("Running", states.running),
        ("Sleeping", states.sleeping),
        ("Waiting for a disk", states.disk_sleep),
        ("Stopped", states.stopped),
        ("Ended, not yet waited for", states.zombie),
        ("Other", states.other),
    ];
    for (name, count) in states {
        known_fact(name, (count > 0).then_some(Count(count)), html);
    }
    known_fact("Open files", processes.open_fds.map(Count), html);
    known_fact("Of their limit, at most", processes.max_fds_ratio.map(Percent), html);
    if let Some(start) = processes.oldest_start_time {
        let start = SystemTime::UNIX_EPOCH + start;
        fact("The oldest began", html, |html| Moment(start).both(view.now, html));
    }
    known_fact("Left out", (processes.truncated > 0).then_some(Count(processes.truncated)), html);
}

fn main_process(view: &View<'_>, row: &Row<'_>, html: &mut Html) {
    let Some(main) = row.processes.and_then(|processes| processes.main.as_ref()) else { return };
    known_fact("CPU", Some(Lasting(main.cpu)), html);
    known_fact("Resident", Some(Bytes(main.resident_bytes)), html);
    let limit = main.virtual_max_bytes.and_then(Limit::number);
    fact("Address space", html, |html| bytes_of(main.virtual_bytes, limit, html));
    if let Some(files) = main.open_fds {
        let limit = main.max_fds.and_then(Limit::number);
        fact("Open files", html, |html| count_of(files, limit, html));
    }
    known_fact("Threads", Some(Count(main.threads)), html);
    if let Some(start) = main.start_time {
        let start = SystemTime::UNIX_EPOCH + start;
        fact("Began", html, |html| Moment(start).both(view.now, html));
    }
}

fn pressure(row: &Row<'_>, html: &mut Html) {
    let Some(cgroup) = row.cgroup else { return };
    let pressures = &cgroup.pressure;
    let mut line = |name, pressure: Option<Pressure>| {
        let Some(pressure) = pressure.filter(|pressure| !pressure.some.is_zero()) else { return };
        fact(name, html, |html| {
            html.text(Lasting(pressure.some));
            if let Some(full) = pressure.full.filter(|full| !full.is_zero()) {
                html.put(", all of it for ").text(Lasting(full));
            }
        });
    };
    line("For a processor", pressures.cpu);
    line("For memory", pressures.memory);
    line("For disks", pressures.io);
}

fn logged(row: &Row<'_>, html: &mut Html) {
    let Some(logged) = row.logged else { return };
    for (priority, count) in Priority::ALL.into_iter().zip(logged.messages) {
        known_fact(priority, (count > 0).then_some(Count(count)), html);
    }
    let dumps: u64 = logged.core_dumps.values().sum();
    known_fact("Core dumps", (dumps > 0).then_some(Count(dumps)), html);
    let dropped = (logged.dropped > 0).then_some(Count(logged.dropped));
    known_fact("Dropped by journald", dropped, html);
}

/// What was counted of a unit since the exporter was started.
pub(super) fn counts(view: &View<'_>, account: &UnitCounters, html: &mut Html) {
    facts("Counted", html, |html| {
        fact("Since", html, |html| Moment(view.started).both(view.now, html));
        known_fact("Starts", Some(Count(account.starts)), html);
        known_fact("Changes of state", Some(Count(account.state_changes)), html);
        if account.restarts > 0 || account.failures.total > 0 {
            known_fact("Automatic restarts", Some(Count(account.restarts)), html);
            known_fact("Failures", Some(Count(account.failures.total)), html);
        }
        several(
            "Failures, by cause",
            &account.failures_by_result,
            html,
            |(result, count), html| {
                html.text(result).put(": ").text(Count(*count));
            },
        );
        several("Ends of the main process", &account.main_exits, html, |(end, counted), html| {
            let (code, status) = end;
            html.text(code.as_str()).put(", ").text(status).put(": ").text(Count(counted.total));
        });
        several("Failed jobs", &account.job_failures, html, |(result, count), html| {
            html.text(result).put(": ").text(Count(*count));
        });
        known_fact("Elapsed", (account.triggers > 0).then(|| times(account.triggers)), html);
    });
}

fn moment(name: &'static str, time: Option<Timestamp>, now: SystemTime, html: &mut Html) {
    if let Some(time) = time.and_then(Timestamp::set) {
        fact(name, html, |html| Moment(time.system_time()).both(now, html));
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
