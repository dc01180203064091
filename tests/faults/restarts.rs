//! The exporter itself is among the victims: killed, restarted and stopped at random while twenty services crash, and
//! every crash is counted. `make chaos` runs it; CI does not.

use std::thread;
use std::time::{Duration, Instant};

use crate::chaos::PAUSES;
use crate::crashers::Crashers;
use crate::support::{EXPORTER_INSIDE, Exporter, Machine, Random};
use crate::truth::disable_journal_rate_limit;

#[test]
#[ignore = "takes minutes: make chaos"]
fn every_crash_is_counted_in_chaos_of_exporter_restarts() {
    let minutes = std::env::var("CHAOS_MINUTES").ok().and_then(|text| text.parse::<f64>().ok());
    let length = Duration::from_secs_f64(60.0 * minutes.unwrap_or(30.0));
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let mut random = Random(seed.unwrap_or(20_261_130));
    let machine = &Machine::options().boot();
    disable_journal_rate_limit(machine);
    machine.unit(
        UNIT,
        &format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nRuntimeDirectory=chaos\nRuntimeDirectoryPreserve=yes\n\
             StandardError=append:/run/host/exporter\n\
             ExecStart={EXPORTER_INSIDE} --web.listen-address=127.0.0.1:{PORT} --log.level=debug\n"
        ),
    );
    let crashers = Crashers::start(machine, &PAUSES);
    let begun = Instant::now();
    let (mut restarts, mut reexec, mut away) = (0, false, Duration::ZERO);
    while begun.elapsed() < length {
        let exporter = start(machine);
        exporter.scrape();
        thread::sleep(Duration::from_millis(random.below(12_000) as u64));
        restarts += 1;
        let pause = match random.below(3) {
            0 => {
                machine.ok(&["systemctl", "kill", "--signal=KILL", UNIT]);
                Duration::from_millis(random.below(3000) as u64)
            }
            1 => {
                machine.ok(&["systemctl", "restart", UNIT]);
                Duration::ZERO
            }
            _ => {
                machine.ok(&["systemctl", "stop", UNIT]);
                let longest = length.min(Duration::from_secs(60)).as_millis();
                Duration::from_millis(random.below(usize::try_from(longest).unwrap()) as u64)
            }
        };
        if !reexec && pause > Duration::from_secs(3) {
            reexec = true;
            machine.ok(&["systemctl", "daemon-reexec"]);
        }
        thread::sleep(pause);
        away += pause;
    }
    let exporter = start(machine);
    crashers.stop_crashing();
    let accounts = crashers.accounts(&exporter);
    let sum = |of: fn(&crate::crashers::Account) -> u64| -> u64 {
        accounts.iter().map(|(_, account)| of(account)).sum()
    };
    eprintln!(
        "{restarts} restarts, away {away:?}, daemon-reexec while away: {reexec}; crashes in the services' own lists {}; \
         counted with cause {}, as unknown {}",
        sum(|account| account.crashes),
        sum(|account| account.with_cause),
        sum(|account| account.unknown),
    );
    let wrong: Vec<_> = accounts.iter().filter(|(_, account)| account.unaccounted() != 0).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn start(machine: &Machine) -> Exporter<'_> {
    machine.ok(&["systemctl", "start", UNIT]);
    machine.exporter_of(UNIT, PORT).left_running()
}

const UNIT: &str = "chaos-exporter.service";
const PORT: u16 = 9557;
