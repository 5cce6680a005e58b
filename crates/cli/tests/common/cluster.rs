//! A cluster whose members are started one by one.
#![allow(dead_code, reason = "each test program uses a part of it")]

use super::{Client, DRIFTLESS, Story, command, eventually, failed, first_ports, is_free, signal};
use rustix::process::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;
use tempfile::TempDir;

/// Members that are started one by one, with ports of their own.
pub(crate) struct Cluster {
    pub(crate) home: TempDir,
    /// Name, client port, peer port; in the order of their coming.
    pub(crate) places: Vec<(String, u16, u16)>,
    pub(crate) running: Vec<(String, Story)>,
}

impl Cluster {
    /// Places for members `n1`, `n2`, ...; none of them runs.
    pub(crate) fn of(members: usize) -> Self {
        let home = tempfile::tempdir().expect("there is room for one");
        let mut places = Vec::new();
        while places.len() < members {
            let (client, peer) = first_ports();
            for step in [0, 20_000, 30_000, 40_000] {
                let (client, peer) = (client + step, peer + step);
                let name = format!("n{}", places.len() + 1);
                if places.len() < members && is_free(client) && is_free(peer) {
                    places.push((name, client, peer));
                }
            }
        }
        Self { home, places, running: Vec::new() }
    }

    /// Three members that run.
    pub(crate) fn of_three() -> Self {
        let mut cluster = Self::of(5);
        let all = cluster.initial_cluster(3);
        for name in ["n1", "n2", "n3"] {
            cluster.start(name, "new", &all, &[]);
        }
        for name in ["n1", "n2", "n3"] {
            cluster.expect_ready(name);
        }
        cluster
    }

    pub(crate) fn place(&self, name: &str) -> &(String, u16, u16) {
        self.places.iter().find(|place| place.0 == name).expect("it has a place")
    }

    pub(crate) fn peer_url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", self.place(name).2)
    }

    pub(crate) fn endpoint(&self, name: &str) -> String {
        format!("127.0.0.1:{}", self.place(name).1)
    }

    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `--initial-cluster` of the first members.
    pub(crate) fn initial_cluster(&self, members: usize) -> String {
        let all = self.places[..members].iter();
        let all = all.map(|place| format!("{}={}", place.0, self.peer_url(&place.0)));
        all.collect::<Vec<_>>().join(",")
    }

    pub(crate) fn command(
        &self,
        name: &str,
        state: &str,
        all: &str,
        more: &[&str],
    ) -> std::process::Command {
        let (client, peer) = (format!("http://{}", self.endpoint(name)), self.peer_url(name));
        let mut serve = command(DRIFTLESS);
        serve.args(["serve", "--name", name, "--initial-cluster-token", "members"]);
        serve.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        serve.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        serve.args(["--initial-cluster", all, "--initial-cluster-state", state]);
        serve.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        serve.arg("--data-dir").arg(self.data_dir(name)).args(more);
        serve
    }

    pub(crate) fn start(&mut self, name: &str, state: &str, all: &str, more: &[&str]) {
        let serve = self.command(name, state, all, more);
        self.running.push((name.to_owned(), Story::begin(serve)));
    }

    pub(crate) fn story(&mut self, name: &str) -> &mut Story {
        let running = self.running.iter_mut().find(|running| running.0 == name);
        &mut running.expect("it runs").1
    }

    #[track_caller]
    pub(crate) fn expect_ready(&mut self, name: &str) {
        self.story(name).expect("ready to serve client requests");
    }

    /// What a member says that is started and cannot be.
    #[track_caller]
    pub(crate) fn refused(&self, name: &str, state: &str, all: &str) -> String {
        let output = self.command(name, state, all, &[]).output().expect("it was built");
        failed(&output, 1)
    }

    pub(crate) fn stop(&mut self, name: &str) {
        signal(self.story(name).pid(), Signal::TERM);
        assert!(self.story(name).ended().success());
        self.running.retain(|running| running.0 != name);
    }

    pub(crate) fn kill(&mut self, name: &str) {
        self.story(name).kill();
        self.running.retain(|running| running.0 != name);
    }

    /// Waits until a member has ended by itself, in good order.
    #[track_caller]
    pub(crate) fn expect_gone(&mut self, name: &str) {
        let story = self.story(name);
        let status = story.ended();
        let told = story.told.join("\n");
        assert_eq!(status.code(), Some(0), "{told}");
        assert!(told.contains("was removed from the cluster"), "{told}");
        self.running.retain(|running| running.0 != name);
    }

    /// The client of those that run.
    pub(crate) fn client(&self) -> Client {
        let endpoints = self.running.iter().map(|running| self.endpoint(&running.0));
        Client { endpoints: endpoints.collect::<Vec<_>>().join(",") }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.client().run(arguments)
    }

    #[track_caller]
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        self.client().says(arguments)
    }

    #[track_caller]
    pub(crate) fn changes(&self, arguments: &[&str]) -> String {
        self.client().changes(arguments)
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.client().json(arguments)
    }

    /// What each member is, by its name.
    pub(crate) fn kinds(&self) -> Vec<(String, String)> {
        let said = self.json(&["member", "list"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members = said["members"].as_array().expect("a list").iter();
        members.map(|member| (text(&member["name"]), text(&member["kind"]))).collect()
    }

    #[track_caller]
    pub(crate) fn await_kinds(&self, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
        let mut last = Vec::new();
        eventually(&format!("the members are {expected:?}"), || {
            last = self.kinds();
            (last == expected).then_some(())
        });
    }

    pub(crate) fn leader(&self) -> String {
        eventually("somebody leads", || {
            let output = self.run(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            let members = status["members"].as_array()?.iter();
            let leader = members.clone().find(|member| member["role"] == "leader")?;
            Some(leader["name"].as_str()?.to_owned())
        })
    }
}
