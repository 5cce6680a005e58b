//! The `driftless` command: a cluster in one command, one member of it, a
//! client, a load generator, and the tools around them.

#![forbid(unsafe_code)]

mod bench;
mod client;
mod failure;
mod output;
mod process;
mod recover;
mod scrape;
mod sim_command;
mod sim_workload;
mod torture;
mod up;
mod verify;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Replicas that never drift apart: a strongly consistent key-value store that
/// speaks the etcd v3 API.
#[derive(Parser)]
#[command(name = "driftless", version, long_version = LONG_VERSION, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\netcd Version: ", driftless_server::etcd_version!());

const EXAMPLES: &str = "\
Examples:
  driftless up                          three members on this machine; Ctrl-C stops them
  driftless put greeting hello          store a value ...
  driftless get greeting                ... and read it
  driftless watch --prefix app/         see what changes under app/
  driftless status                      who leads, and how each member is
  driftless member --help               grow, shrink or replace the cluster while it serves
  driftless bench put --seconds 10      how fast is it here?
  driftless sim --seeds 1000            a thousand simulated clusters, and what they met

Exit codes:
  0  done
  1  failed or refused; the message says what and what to do
  2  the command line is wrong
  3  no member could be reached, or none answered in time
  4  `get` of a single key that is not there";

#[derive(Subcommand)]
enum Command {
    Up(up::UpArguments),
    /// Run one member of a cluster, with etcd's options
    #[command(disable_help_flag = true)]
    Serve {
        /// See `driftless serve --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    #[command(flatten)]
    Client(client::ClientCommand),
    Bench(bench::BenchArguments),
    Torture(torture::TortureArguments),
    Sim(sim_command::SimArguments),
    #[command(subcommand)]
    Log(verify::LogCommand),
    Recover(recover::RecoverArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Up(arguments) => up::run(&arguments),
        Command::Serve { options } => return driftless_server::serve_command(options),
        Command::Client(command) => client::run(command),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Torture(arguments) => torture::run(&arguments),
        Command::Sim(arguments) => return sim_command::run(&arguments),
        Command::Log(command) => verify::run(&command),
        Command::Recover(arguments) => recover::run(&arguments),
    };
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
