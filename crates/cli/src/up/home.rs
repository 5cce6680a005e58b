//! Where a cluster of `up` lives: its directory, its lock, its ports, and what
//! is remembered of the first time.

use super::UpArguments;
use crate::failure::{Context, Failure};
use crate::process::{Member, is_free};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A directory that is ours, and the cluster in it.
pub(crate) struct Home {
    pub(crate) directory: PathBuf,
    pub(crate) members: Vec<Member>,
    pub(crate) token: String,
    remembered: Remembered,
    /// Held as long as this lives.
    _lock: File,
}

/// What is remembered in `cluster.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    /// Of this file.
    format: u32,
    nodes: u16,
    client_port: u16,
    peer_port: u16,
    token: String,
    /// The names of the members that have had data: one without is new, or has
    /// lost it.
    #[serde(default)]
    begun: BTreeSet<String>,
    /// The names of the members that the cluster removed.
    #[serde(default)]
    removed: BTreeSet<String>,
}

const FORMAT: u32 = 1;
const FILE: &str = "cluster.json";
const LOCK: &str = "up.lock";

impl Home {
    /// Opens or makes the directory, and checks that nothing stands in the way.
    pub(crate) fn open(arguments: &UpArguments) -> Result<Self, Failure> {
        let directory = &arguments.dir;
        let shown = directory.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .context(format!("cannot make the directory {shown} (choose another with --dir)"))?;
        let directory = directory.canonicalize().context(format!("cannot use {shown}"))?;
        let lock = lock(&directory)?;
        let before = read(&directory)?;
        let now = decide(before.as_ref(), arguments, &directory)?;
        let members = members(&now)?;
        check_ports(&members)?;
        if before.as_ref() != Some(&now) {
            write(&directory, &now)?;
        }
        Ok(Self { directory, members, token: now.token.clone(), remembered: now, _lock: lock })
    }

    /// Whether a member has ever had data.
    pub(crate) fn has_begun(&self, name: &str) -> bool {
        self.remembered.begun.contains(name)
    }

    /// Whether the cluster removed it.
    pub(crate) fn is_removed(&self, name: &str) -> bool {
        self.remembered.removed.contains(name)
    }

    /// Remembers that a member has data.
    pub(crate) fn note_begun(&mut self, name: &str) -> Result<(), Failure> {
        self.remembered.begun.insert(name.to_owned());
        write(&self.directory, &self.remembered)
    }

    /// Remembers that the cluster removed a member.
    pub(crate) fn note_removed(&mut self, name: &str) -> Result<(), Failure> {
        self.remembered.removed.insert(name.to_owned());
        write(&self.directory, &self.remembered)
    }
}

fn lock(directory: &Path) -> Result<File, Failure> {
    let path = directory.join(LOCK);
    let shown = path.display();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .context(format!("cannot open {shown}"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = file.read_to_string(&mut pid);
        return Err(Failure::new(format!(
            "{} is in use by another `driftless up` (pid {}): stop that one, or choose another \
             --dir",
            directory.display(),
            pid.trim()
        )));
    }
    file.set_len(0).context(format!("cannot write {shown}"))?;
    writeln!(file, "{}", std::process::id()).context(format!("cannot write {shown}"))?;
    Ok(file)
}

fn read(directory: &Path) -> Result<Option<Remembered>, Failure> {
    let path = directory.join(FILE);
    let shown = path.display();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new(format!("cannot read {shown}: {error}"))),
    };
    let remembered: Remembered = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!(
            "{shown} is not what `driftless up` wrote: {error}\n\
             Mend it, or start a new cluster with another --dir."
        ))
    })?;
    if remembered.format != FORMAT || !(1..=6).contains(&remembered.nodes) {
        return Err(Failure::new(format!(
            "{shown} is of another version of driftless (format {}, this one writes {FORMAT})",
            remembered.format
        )));
    }
    Ok(Some(remembered))
}

/// Joins what was before to what is asked for now.
fn decide(
    before: Option<&Remembered>,
    arguments: &UpArguments,
    directory: &Path,
) -> Result<Remembered, Failure> {
    let Some(before) = before else {
        let random = getrandom::u64().context("cannot draw a name for the cluster")?;
        return Ok(Remembered {
            format: FORMAT,
            nodes: arguments.nodes.unwrap_or(3),
            client_port: arguments.client_port.unwrap_or(2379),
            peer_port: arguments.peer_port.unwrap_or(2380),
            token: format!("up-{random:016x}"),
            begun: BTreeSet::new(),
            removed: BTreeSet::new(),
        });
    };
    if let Some(nodes) = arguments.nodes.filter(|nodes| *nodes != before.nodes) {
        return Err(Failure::new(format!(
            "{} holds a cluster of {}, not of {nodes}: leave --nodes out to go on with it, or \
             start another one with --dir",
            directory.display(),
            before.nodes
        )));
    }
    Ok(Remembered {
        client_port: arguments.client_port.unwrap_or(before.client_port),
        peer_port: arguments.peer_port.unwrap_or(before.peer_port),
        ..before.clone()
    })
}

/// The members with their ports: member K from the second on adds K × 10000.
fn members(cluster: &Remembered) -> Result<Vec<Member>, Failure> {
    let port = |first: u16, number: u16, flag: &str| {
        let step = if number == 1 { 0 } else { number * 10_000 };
        first.checked_add(step).ok_or_else(|| {
            Failure::new(format!(
                "member {number} would need port {}, and the last is 65535: choose a {flag} of at \
                 most {}",
                u32::from(first) + u32::from(step),
                u16::MAX - cluster.nodes * 10_000
            ))
        })
    };
    (1..=cluster.nodes)
        .map(|number| {
            Ok(Member {
                name: format!("n{number}"),
                client_port: port(cluster.client_port, number, "--client-port")?,
                peer_port: port(cluster.peer_port, number, "--peer-port")?,
            })
        })
        .collect()
}

fn check_ports(members: &[Member]) -> Result<(), Failure> {
    let mut taken: Vec<u16> = Vec::new();
    for member in members {
        let uses = [
            (member.client_port, "clients", "--client-port"),
            (member.peer_port, "its peers", "--peer-port"),
        ];
        for (port, whom, flag) in uses {
            let name = &member.name;
            if taken.contains(&port) {
                return Err(Failure::new(format!(
                    "two members would use port {port}: choose another {flag}"
                )));
            }
            taken.push(port);
            if !is_free(port) {
                return Err(Failure::new(format!(
                    "port {port} (where {name} serves {whom}) is in use, perhaps by etcd or \
                     another cluster. `ss -ltnp 'sport = :{port}'` says by whom; stop that, or \
                     choose another {flag}."
                )));
            }
        }
    }
    Ok(())
}

/// Written beside and renamed, so that it is there whole or not at all.
fn write(directory: &Path, cluster: &Remembered) -> Result<(), Failure> {
    let path = directory.join(FILE);
    let shown = path.display();
    let beside = directory.join(format!("{FILE}.new"));
    let attempt = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(cluster)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)?;
        File::open(directory)?.sync_all()
    };
    attempt().context(format!("cannot write {shown}"))
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, Remembered, members};
    use std::collections::BTreeSet;

    fn cluster(nodes: u16, client_port: u16, peer_port: u16) -> Remembered {
        let (begun, removed) = (BTreeSet::new(), BTreeSet::new());
        Remembered {
            format: FORMAT,
            nodes,
            client_port,
            peer_port,
            token: "t".to_owned(),
            begun,
            removed,
        }
    }

    #[test]
    fn ports_are_ten_thousand_apart() {
        let members = members(&cluster(6, 2379, 2380)).unwrap();
        let ports: Vec<_> = members.iter().map(|m| (m.client_port, m.peer_port)).collect();
        assert_eq!(
            ports,
            [
                (2379, 2380),
                (22379, 22380),
                (32379, 32380),
                (42379, 42380),
                (52379, 52380),
                (62379, 62380)
            ]
        );
    }

    #[test]
    fn a_port_past_the_last_is_refused_with_one_that_is_not() {
        let failure = members(&cluster(3, 40_000, 2380)).unwrap_err();
        let text = format!("{failure:?}");
        assert!(text.contains("port 70000") && text.contains("at most 35535"), "{text}");
    }
}
