//! Writes the manual page and the completions, from the flags as the program declares them.
//!
//! `cargo run --example manual -- DIRECTORY`, with what shall be in it afterwards: `unit-exporter.8`,
//! and `unit-exporter.bash`, `_unit-exporter` and `unit-exporter.fish` for the shells.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use unit_exporter::cli::args::Args;

fn main() -> io::Result<()> {
    let directory: PathBuf = std::env::args_os().nth(1).expect("a directory to write to").into();
    std::fs::create_dir_all(&directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Args::command(), NAME, &directory)?;
    }
    let mut page = std::fs::File::create(directory.join("unit-exporter.8"))?;
    // the number alone: a page that tells of compilers is another one for each build
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
    for subcommand in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let arguments = subcommand.get_arguments().filter(|argument| argument.get_id() != "help");
        let arguments = arguments.map(|argument| match argument.is_required_set() {
            true => format!(" {argument}"),
            false => format!(" [{argument}]"),
        });
        let (name, arguments) = (subcommand.get_name(), arguments.collect::<String>());
        let about = subcommand.get_about().unwrap_or_default();
        let entry = format!(".TP\n\\fB{name}\\fR{arguments}\n{about}\n");
        page.write_all(entry.replace('-', r"\-").as_bytes())?;
    }
    page.write_all(CLOSING.as_bytes())
}

const NAME: &str = "unit-exporter";

/// All flags in a row would fill the first screen.
const SYNOPSIS: &str = r".SH SYNOPSIS
\fBunit\-exporter\fR [\fIOPTION\fR]...
.br
\fBunit\-exporter\fR \fISUBCOMMAND\fR
.SH DESCRIPTION
Serves what systemd, control groups and the kernel tell of the units of this host, for Prometheus to scrape.
Units are kept in memory and followed by systemd's signals: a scrape asks systemd nothing, and what happens between two
scrapes is counted.
.PP
It is meant to be run by systemd, as \fIunit\-exporter.service\fR, and needs no rights of its own.
";

/// What the flags do not tell.
const CLOSING: &str = r".SH SIGNALS
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
Answer what is being asked, for up to 5 seconds, and end.
.TP
\fBSIGHUP\fR
Read the file of \fB\-\-web.config.file\fR again. A change of it is noticed without, too.
.SH EXIT STATUS
.TP
\fB0\fR
It was told to end; or what was asked of it instead of serving went well.
.TP
\fB1\fR
It could not go on, or not begin; with \fB\-\-once\fR, something could not be read.
.TP
\fB2\fR
A flag or its value makes no sense.
.SH FILES
.TP
\fI/etc/default/unit\-exporter\fR
The flags of \fIunit\-exporter.service\fR.
.TP
\fI/etc/unit\-exporter/web.yml\fR
Where the drop\-in \fItls.conf\fR expects what \fB\-\-web.config.file\fR reads.
.TP
\fI/usr/share/unit\-exporter\fR
Alerts, dashboards, and drop\-ins for the service: one that is activated by its socket, TLS, more rights.
.SH SEE ALSO
.BR systemctl (1),
.BR prometheus (1),
.BR systemd.exec (5)
.PP
\fIhttps://prometheus.io/docs/\fR
";
