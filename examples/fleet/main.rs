//! The hosts of `scripts/fleet`: each has an address on the loopback interface, the exporter's own HTTP server and metrics, and
//! 100 units that change as those of a host do.

mod host;
mod resources;
mod units;

use std::future::pending;
use std::io::{Write as _, stdin, stdout};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Parser;
use host::Host;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use unit_exporter::collector::Profile;
use unit_exporter::http::{
    App, EventsRequest, HtmlPage, HttpError, HttpListener, ScrapeRequest, ServerOptions, serve,
};

/// Serves hosts until standard input ends; each line of it is a command:
///
///   oom-kill HOST UNIT   the kernel kills the service, and Restart= starts it again
///   start-limit HOST UNIT   the service crashes until its start limit is hit
///   stop   no scrape is answered any more
///   served   prints the responses, their samples and their bytes, of each host
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Args {
    #[arg(long, default_value_t = 1000)]
    hosts: u32,
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    #[arg(long, default_value_t = 19558)]
    port: u16,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let hosts: Vec<_> =
        (0..args.hosts).map(|number| Arc::new(Host::new(number, args.profile))).collect();
    let runtime = Runtime::new()?;
    runtime.block_on(listen(&hosts, args.port))?;
    reply("ready")?;
    for line in stdin().lines() {
        reply(&obey(&hosts, &line?)?)?;
    }
    Ok(())
}

async fn listen(hosts: &[Arc<Host>], port: u16) -> anyhow::Result<()> {
    for host in hosts {
        let address = (host.address(), port);
        let listener = TcpListener::bind(address);
        let listener =
            listener.await.with_context(|| format!("failed to listen on {address:?}"))?;
        let listeners = vec![HttpListener::Tcp(listener)];
        let app = Exporter(host.clone());
        tokio::spawn(serve(listeners, app, ServerOptions::default(), pending()));
    }
    Ok(())
}

fn obey(hosts: &[Arc<Host>], line: &str) -> anyhow::Result<String> {
    let host = |number: &str| {
        let host = hosts.get(number.parse::<usize>()?);
        host.with_context(|| format!("there is no host {number}"))
    };
    match *line.split(' ').collect::<Vec<_>>() {
        ["oom-kill", number, unit] => host(number)?.oom_kill(unit)?,
        ["start-limit", number, unit] => host(number)?.hit_start_limit(unit)?,
        ["stop"] => hosts.iter().for_each(|host| host.stop()),
        ["served"] => {
            let served = hosts.iter().map(|host| host.served());
            return Ok(json!(served.collect::<Vec<_>>()).to_string());
        }
        _ => bail!("unknown command: {line}"),
    }
    Ok("done".to_owned())
}

fn reply(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// The web interface of one host.
struct Exporter(Arc<Host>);

impl App for Exporter {
    async fn metrics(&self, request: ScrapeRequest) -> Result<Bytes, HttpError> {
        let response = self.0.response(request.format);
        response.ok_or_else(|| HttpError::Unavailable("stopped".to_owned()))
    }

    async fn page(&self, _: &str, _: Vec<(String, String)>) -> Result<Option<HtmlPage>, HttpError> {
        Ok(None)
    }

    fn events(&self, _: &EventsRequest) -> Bytes {
        Bytes::new()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
