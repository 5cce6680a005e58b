//! What `up` tells the person who started it.

use super::heal::Recovery;
use super::leadership::{Leadership, News};
use super::supervise::Death;
use crate::failure::Failure;
use crate::output::{Table, print};
use crate::process::Launcher;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Tells what happens, once and in order.
pub(crate) struct Story<'a> {
    launcher: &'a Launcher,
    pids: Vec<Option<i32>>,
    began: Instant,
    led_since: Option<Instant>,
    leader: Option<usize>,
    ready: bool,
    /// Since when each has been without its data.
    lost: Vec<Option<Instant>>,
}

/// Says a line with the time. `up` goes on when nobody reads it any more.
pub(crate) fn tell(line: &str) {
    let _ = print(&format!("{}  {line}\n", time_of_day()));
}

impl<'a> Story<'a> {
    pub(crate) fn new(launcher: &'a Launcher) -> Self {
        let count = launcher.members.len();
        let members = if count == 1 { "1 member" } else { &format!("{count} members") };
        tell(&format!("starting {members} in {}", launcher.directory.display()));
        Self {
            launcher,
            pids: vec![None; count],
            began: Instant::now(),
            led_since: None,
            leader: None,
            ready: false,
            lost: vec![None; count],
        }
    }

    fn name(&self, at: usize) -> &str {
        &self.launcher.members[at].name
    }

    fn name_with_pid(&self, at: usize) -> String {
        match self.pids[at] {
            Some(pid) => format!("{} (pid {pid})", self.name(at)),
            None => self.name(at).to_owned(),
        }
    }

    /// Whether the cluster has ever served.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(crate) fn started(&mut self, at: usize, pid: i32) {
        self.pids[at] = Some(pid);
        if self.ready {
            tell(&format!("{} is started again", self.name_with_pid(at)));
        }
    }

    pub(crate) fn died(&mut self, death: &Death) {
        self.pids[death.at] = None;
        if self.leader == Some(death.at) {
            self.leader = None;
        }
        let Death { at, pid, how, delay, .. } = death;
        let name = self.name(*at);
        let delay = delay.as_secs_f64();
        tell(&format!("{name} (pid {pid}) died: {how}; it is started again in {delay} s"));
        let _ = print(&self.last_words(death));
    }

    pub(crate) fn lost(&mut self, at: usize) {
        if self.lost[at].is_some() {
            return;
        }
        self.lost[at] = Some(Instant::now());
        let directory = self.launcher.data_dir(&self.launcher.members[at]);
        let name = self.name_with_pid(at);
        tell(&format!("{name} has lost its data directory: {} is gone", directory.display()));
    }

    pub(crate) fn lost_for_good(&mut self, at: usize) {
        let name = self.name(at);
        let what = match (self.launcher.members.len(), self.pids[at]) {
            (1, Some(_)) => format!(
                "nobody else has its data: all of it is gone when {name} ends; until then it can \
                 be read, so save what you need"
            ),
            (_, Some(_)) => "the others are no majority without it, so it goes on with the files \
                             that it has open; all that only it holds is gone when it ends, so \
                             save what you need"
                .to_owned(),
            (_, None) => format!(
                "the others are no majority and cannot bring {name} back: put its directory back, \
                 or, if it is lost for good, stop this and see `driftless recover --help`"
            ),
        };
        tell(&what);
    }

    pub(crate) fn replaced(&mut self, at: usize, aside: Option<&std::path::Path>) {
        if self.leader == Some(at) {
            self.leader = None;
        }
        let pid = self.pids[at].take();
        let name = self.name(at);
        let ended = match pid {
            Some(pid) => format!("its process (pid {pid}) is ended, and "),
            None => String::new(),
        };
        tell(&format!(
            "{name}: {ended}it begins anew with an empty directory; it has no vote until the \
             others have brought it up to date"
        ));
        if let Some(aside) = aside {
            tell(&format!("what was left of the data of {name} now stands in {}", aside.display()));
        }
    }

    pub(crate) fn recovered(&mut self, at: usize, recovery: Recovery) {
        let since = self.lost[at];
        let name = self.name(at);
        match recovery {
            Recovery::Readmitted => {
                tell(&format!("{name} was taken back as a learner, and is brought up to date"));
            }
            Recovery::Healed => {
                let took = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
                tell(&format!(
                    "{name} has caught up and votes again, {took:.1} s after its loss was noticed"
                ));
                self.lost[at] = None;
            }
        }
    }

    pub(crate) fn removed(&mut self, at: usize) {
        self.pids[at] = None;
        let (name, member) = (self.name(at), &self.launcher.members[at]);
        tell(&format!(
            "{name} was removed from the cluster and is not started again; its data in {} is of \
             no more use",
            self.launcher.data_dir(member).display()
        ));
    }

    fn last_words(&self, death: &Death) -> String {
        let mut words = String::new();
        for line in &death.last_lines {
            writeln!(words, "    | {line}").expect("a String takes everything");
        }
        if !words.is_empty() {
            let log = self.launcher.log_file(&self.launcher.members[death.at]);
            words = format!("    its last words, from {}:\n{words}", log.display());
        }
        words
    }

    /// Why the cluster cannot be started.
    pub(crate) fn hopeless(&self, death: &Death) -> Failure {
        Failure::new(format!(
            "{} died {} times in a row at its start: {}\n{}",
            self.name(death.at),
            death.failures_at_start,
            death.how,
            self.last_words(death)
        ))
    }

    pub(crate) fn leadership(&mut self, news: &News) {
        match *news {
            News::Leads { at, term } => {
                self.leader = Some(at);
                tell(&format!("{} leads, in term {term}", self.name_with_pid(at)));
            }
            News::NobodyLeads { answering } => {
                self.leader = None;
                let count = self.launcher.members.len();
                let majority = count / 2 + 1;
                tell(&format!(
                    "nobody leads: {answering} of {count} members answer, {majority} are needed"
                ));
            }
        }
    }

    /// Says what to type next, once the cluster serves: with all members if
    /// they come soon, else without those that do not.
    pub(crate) fn maybe_ready(&mut self, leadership: &Leadership) {
        if self.ready || leadership.leader().is_none() {
            return;
        }
        let led_since = *self.led_since.get_or_insert_with(Instant::now);
        let all_answer = leadership.answering() == self.launcher.members.len();
        if !all_answer && led_since.elapsed() < std::time::Duration::from_secs(3) {
            return;
        }
        self.ready = true;
        let took = self.began.elapsed().as_secs_f64();
        tell(&format!("ready after {took:.1} s"));
        let _ = print(&self.what_next());
    }

    fn what_next(&self) -> String {
        let mut table = Table::new(["MEMBER", "CLIENTS", "PEERS", "PID", "LOG"]);
        for (member, pid) in self.launcher.members.iter().zip(&self.pids) {
            table.row([
                member.name.clone(),
                member.endpoint(),
                format!("127.0.0.1:{}", member.peer_port),
                pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                self.launcher.log_file(member).display().to_string(),
            ]);
        }
        let program = std::env::args().next().unwrap_or_else(|| "driftless".to_owned());
        let endpoints = self.launcher.endpoints();
        let flag = if endpoints.starts_with("127.0.0.1:2379") {
            String::new()
        } else {
            format!(" --endpoints {endpoints}")
        };
        let mut text = format!(
            "\n{}\nTry in another terminal:\n  \
             {program} put{flag} greeting hello\n  \
             {program} get{flag} greeting\n  \
             {program} status{flag}\n  \
             ETCDCTL_API=3 etcdctl --endpoints={endpoints} get --prefix gre\n",
            table.render("  ")
        );
        if let Some((at, pid)) = self.leader.and_then(|at| Some((at, self.pids[at]?))) {
            let name = self.name(at);
            let then = match self.launcher.members.len() {
                1 => "it is started again, with all that it held",
                2 => "one alone is no majority, until it is started again",
                _ => "see the next one be elected",
            };
            writeln!(text, "  kill -9 {pid}     # {name} leads: {then}")
                .expect("a String takes everything");
        }
        text.push_str(
            "\nCtrl-C stops all members. The same command goes on with the same data.\n\n",
        );
        text
    }
}

/// The time of day in UTC, to the second.
fn time_of_day() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (hours, minutes, seconds) = (since / 3600 % 24, since / 60 % 60, since % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}Z")
}
