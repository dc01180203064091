//! Writes the manual page and the shell completions from the flags that the program declares.
//!
//! `cargo run --example manual -- DIRECTORY` writes `unit-exporter.8`, `unit-exporter.bash`, `_unit-exporter` and
//! `unit-exporter.fish`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use unit_exporter::cli::args::Args;

fn main() -> io::Result<()> {
    let directory: PathBuf = std::env::args_os().nth(1).expect("usage: manual DIRECTORY").into();
    std::fs::create_dir_all(&directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Args::command(), NAME, &directory)?;
    }
    let mut page = std::fs::File::create(directory.join("unit-exporter.8"))?;
    // only the version: with the compiler and revision of --version, each build would differ
    write_page(Args::command().version(env!("CARGO_PKG_VERSION")), &mut page)
}

fn write_page(mut command: clap::Command, page: &mut impl Write) -> io::Result<()> {
    let man = Man::new(command.clone())
        .title("UNIT-EXPORTER")
        .section("8")
        .manual("System administration");
    man.render_title(page)?;
    man.render_name_section(page)?;
    page.write_all(SYNOPSIS.as_bytes())?;
    man.render_options_section(page)?;
    page.write_all(b".SH SUBCOMMANDS\n")?;
    command.build();
    let is_shown = |sub: &&clap::Command| sub.get_name() != "help" && !sub.is_hide_set();
    let mut subcommands = Vec::new();
    for subcommand in command.get_subcommands().filter(is_shown) {
        let name = subcommand.get_name().to_owned();
        if !subcommand.has_subcommands() {
            subcommands.push((name, subcommand));
            continue;
        }
        let nested = subcommand.get_subcommands().filter(is_shown);
        subcommands.extend(nested.map(|sub| (format!("{name} {}", sub.get_name()), sub)));
    }
    for (name, subcommand) in subcommands {
        let arguments = subcommand.get_arguments().filter(|argument| argument.get_id() != "help");
        let arguments = arguments.map(|argument| match argument.is_required_set() {
            true => format!(" {argument}"),
            false => format!(" [{argument}]"),
        });
        let arguments = arguments.collect::<String>();
        let about = subcommand.get_about().unwrap_or_default();
        let entry = format!(".TP\n\\fB{name}\\fR{arguments}\n{about}\n");
        page.write_all(entry.replace('-', r"\-").as_bytes())?;
    }
    page.write_all(CLOSING.as_bytes())
}

const NAME: &str = "unit-exporter";

/// Written by hand: clap_mangen's synopsis lists all flags and fills the first screen.
const SYNOPSIS: &str = r".SH SYNOPSIS
\fBunit\-exporter\fR [\fIOPTION\fR]...
.br
\fBunit\-exporter\fR \fISUBCOMMAND\fR
.SH DESCRIPTION
Exports metrics about the systemd units of this host for Prometheus: states, failures, restarts, resource usage and
listening sockets.
The exporter keeps all units in memory and updates them from systemd's D\-Bus signals: a scrape makes no call to
systemd, and failures and restarts between two scrapes are counted.
.PP
Run it as \fIunit\-exporter.service\fR. The service needs no capabilities; the journal metrics need the group \fIsystemd\-journal\fR.
";

/// The sections that the flags do not contain.
const CLOSING: &str = r".SH EXAMPLES
Report which collectors work on this host and how to fix the others:
.PP
.RS
.nf
unit\-exporter check host
.fi
.RE
.PP
Print the metrics of one unit once, without serving:
.PP
.RS
.nf
unit\-exporter \-\-once | grep nginx.service
.fi
.RE
.PP
Serve on the loopback address and export systemd_unit_missing for a unit that must exist:
.PP
.RS
.nf
unit\-exporter \-\-web.listen\-address=127.0.0.1:9558 \-\-expect\-unit=nginx.service
.fi
.RE
.SH SIGNALS
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
Finish requests in progress (at most 5 seconds) and exit.
.TP
\fBSIGHUP\fR
Reload the files of \fB\-\-config.file\fR (expected units and listeners; other keys need a restart) and
\fB\-\-web.config.file\fR. Changes of the latter are also detected without the signal.
.SH EXIT STATUS
.TP
\fB0\fR
Success, or exit after SIGTERM or SIGINT.
.TP
\fB1\fR
Start\-up or runtime error. With \fB\-\-once\fR, a collector failed. With \fBcheck host\fR, an enabled collector does not
work. With \fBcheck config\fR or \fBcheck web\-config\fR, the file is invalid.
.TP
\fB2\fR
Invalid flag or value.
.SH ENVIRONMENT
.TP
\fBUNIT_EXPORTER_\fIFLAG\fR
Sets a flag: \fB\-\-web.listen\-address\fR is \fBUNIT_EXPORTER_WEB_LISTEN_ADDRESS\fR. A flag takes precedence over the
environment, the environment over the file of \fB\-\-config.file\fR. Values of repeatable flags are separated by commas.
.TP
\fBDBUS_SESSION_BUS_ADDRESS\fR, \fBXDG_RUNTIME_DIR\fR
D\-Bus address of the user's manager with \fB\-\-systemd.collector.user\fR; the default is \fI/run/user/UID/bus\fR.
.TP
\fBNOTIFY_SOCKET\fR, \fBWATCHDOG_USEC\fR
Set by systemd: see
.BR sd_notify (3).
.SH FILES
.TP
\fI/etc/default/unit\-exporter\fR
Flags of \fIunit\-exporter.service\fR.
.TP
\fI/etc/unit\-exporter/web.yml\fR
TLS and basic auth: the file of \fB\-\-web.config.file\fR in the drop\-in \fItls.conf\fR.
.TP
\fI/usr/share/unit\-exporter\fR
Alerts, dashboards, and drop\-ins for the service: socket activation, TLS, additional capabilities.
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1),
.BR prometheus (1),
.BR systemd.exec (5)
.PP
\fIhttps://prometheus.io/docs/\fR
";
