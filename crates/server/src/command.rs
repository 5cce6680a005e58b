//! `driftless serve`: a command line in, an exit code out.

use crate::config::Invocation;
use crate::logger;
use crate::serve::run;
use crate::service::ETCD_VERSION;
use std::io::Read;
use std::process::ExitCode;
use tokio::sync::oneshot;

const HELP: &str = "\
Runs one member of a cluster, in the foreground. The options are etcd's: as flags,
as ETCD_<FLAG> in the environment, or in a YAML file (--config-file), which then
counts alone.

Usage: driftless serve [options]

Member:
  --name NAME                           its name in --initial-cluster [default]
  --data-dir DIR                        its log and snapshots [NAME.etcd]
  --listen-client-urls URL,...          where clients connect [http://localhost:2379]
  --advertise-client-urls URL,...       where clients are told to connect
  --listen-peer-urls URL                where peers connect [http://localhost:2380]
  --listen-metrics-urls URL,...         more places for /health and /metrics
  --heartbeat-interval MS               how often a leader makes itself heard [100]
  --election-timeout MS                 how long a member bears not to hear it; at least five
                                        times the former [1000]
  --election-rank RANK                  0 to 15: 0 seeks election first, each rank after it waits
                                        for those before to have tried [0]
  --pre-vote                            ask whether an election could be won before one [true]
  --read-lease-drift-ppm PPM            reads by lease, which etcd has not: a leader that most
                                        have just heard answers reads without asking anybody.
                                        Says that no member's clock gains or loses more than PPM
                                        millionths (1000 is ample with ntpd, 100000 also with
                                        chrony's faster slewing); if one does, a read may be
                                        answered with an old value.
                                        Members that are not told the same count for no lease
                                        [none]
  --snapshot-count ENTRIES              a snapshot after so many entries, or after 256 MiB of
                                        them if that comes first [1000000]
  --snapshot-catchup-entries ENTRIES    kept behind a snapshot for members that lag [10000]
  --quota-backend-bytes BYTES           how far the store may grow [2147483648]; -1: no bound

Cluster:
  --initial-advertise-peer-urls URL,... where peers are told to connect [http://localhost:2380]
  --initial-cluster NAME=URL,...        all members, the same on each of them
  --initial-cluster-state STATE         new, or existing: this member was added to a cluster
                                        (`driftless member add`) and asks the others for it [new]
  --initial-cluster-token TOKEN         tells this cluster from others [etcd-cluster]
  --strict-reconfig-check               refuse changes of members that could leave no majority
                                        of those that have started [true]
  --max-learners MEMBERS                how many may be learners at a time [1]
  --readmit-lost-disks                  while this member leads, one whose disk was lost comes
                                        back by itself, as a learner first [false]
  --replace-lost-disk                   this member lost its data: a new directory begins as
                                        the one that takes its place, and never votes before
                                        the others have taken it back [false]

Limits and log:
  --max-request-bytes BYTES             the largest request [1572864]
  --max-txn-ops OPERATIONS              the most operations in a transaction [128]
  --max-concurrent-streams STREAMS      calls at a time on a connection [4096]
  --grpc-keepalive-interval TIME        a silent client is asked whether it is there [2h]
  --grpc-keepalive-timeout TIME         and is gone if it does not answer within this [20s]
  --watch-progress-notify-interval TIME how often watchers that ask for it hear of progress [10m]
  --log-level LEVEL                     debug, info, warn or error [info]
  --config-file FILE                    all of this as YAML, by the same names
  --version                             also says for which etcd version clients take it

Example, the first of three members:
  driftless serve --name m1 --data-dir ./m1 \\
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \\
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \\
    --initial-cluster m1=http://127.0.0.1:2380,m2=http://127.0.0.1:22380,m3=http://127.0.0.1:32380

What etcd does not have is explained in docs/beyond-etcd.md.
etcd's other options are accepted; one that means nothing here is warned of, and one
that must not be ignored (TLS, authentication) is refused.
";

/// Runs `serve` with these arguments (those behind the word) and this process'
/// environment. Messages go to standard error.
pub fn serve_command(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let environment = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let config = match Invocation::parse(arguments, environment) {
        Ok(Invocation::Serve(config)) => config,
        Ok(Invocation::Version) => {
            println!("driftless {}\netcd Version: {ETCD_VERSION}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(Invocation::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    logger::start(config.log_level);
    let parent = config.until_stdin_closes.then(|| {
        let (stop, stopped) = oneshot::channel();
        // Not tokio's: a read of its own would keep the runtime from ending.
        std::thread::spawn(move || {
            let mut rest = [0; 64];
            while matches!(std::io::stdin().read(&mut rest), Ok(1..)) {}
            let _ = stop.send(());
        });
        stopped
    });
    let stopped = async {
        match parent {
            // An error would say that the thread is gone, and with it the watch.
            Some(parent) => drop(parent.await),
            None => std::future::pending().await,
        }
    };
    match run(*config, stopped) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HELP;

    #[test]
    fn help_names_every_option_that_is_heeded() {
        // One is deprecated, one is for the program that starts members, one asked for this.
        let unnamed = ["listen-client-http-urls", "until-stdin-closes", "help"];
        for option in crate::config::used_options().filter(|option| !unnamed.contains(option)) {
            let named = HELP.lines().any(|line| line.starts_with(&format!("  --{option} ")));
            assert!(named || HELP.contains(&format!("  --{option}\n")), "--{option}");
        }
    }
}
