//! Who may know whom: the packages import only what the design allows.
//!
//! The table below is the rule; the graph in ARCHITECTURE.md is drawn from what
//! the manifests really say. Dev-dependencies keep the same rule: a test that
//! needs a package from above belongs to the package above.

use crate::workspace::{Package, Workspace, replace_between};
use crate::{Failure, Findings};
use std::fmt::Write as _;

/// One room of the house.
struct Room {
    name: &'static str,
    folder: &'static str,
    what: &'static str,
    imports: &'static [&'static str],
}

/// What each package may import among the packages of this workspace. What an
/// import re-exports may be named through it.
const ROOMS: &[Room] = &[
    Room {
        name: "driftless-raft",
        folder: "crates/raft",
        what: "the algorithm: no clock, no randomness, no I/O, no payloads",
        imports: &[],
    },
    Room {
        name: "driftless-codec",
        folder: "crates/codec",
        what: "peer frames and log records as bytes",
        imports: &["driftless-raft"],
    },
    Room {
        name: "driftless-machine",
        folder: "crates/machine",
        what: "the `StateMachine` trait: what users implement",
        imports: &[],
    },
    Room {
        name: "driftless-log",
        folder: "crates/log",
        what: "the durable log: many groups, one sync for all",
        imports: &["driftless-raft", "driftless-codec"],
    },
    Room {
        name: "driftless-node",
        folder: "crates/node",
        what: "the deterministic host of a member; never waits",
        imports: &["driftless-raft", "driftless-codec", "driftless-log", "driftless-machine"],
    },
    Room {
        name: "driftless",
        folder: "crates/driftless",
        what: "what an application embeds: threads, sockets, disk, clock",
        imports: &["driftless-node"],
    },
    Room {
        name: "driftless-sim",
        folder: "crates/sim",
        what: "the simulated world for the same node",
        imports: &["driftless-node"],
    },
    Room {
        name: "driftless-kv",
        folder: "crates/kv",
        what: "the multi-version key-value state machine",
        imports: &["driftless-machine"],
    },
    Room {
        name: "driftless-server",
        folder: "crates/server",
        what: "the etcd v3 API over `kv` on `driftless`",
        imports: &["driftless", "driftless-kv"],
    },
    Room {
        name: "driftless-cli",
        folder: "crates/cli",
        what: "the `driftless` binary, and kv's workload for the simulator",
        imports: &["driftless-server", "driftless-sim", "driftless-kv"],
    },
    Room { name: "xtask", folder: "xtask", what: "the chores of this workspace", imports: &[] },
];

/// What an example package may import: what a user may, to run a machine and to
/// test it.
const EXAMPLE_IMPORTS: &[&str] = &["driftless", "driftless-sim"];

/// The packages that the simulator drives, and the simulator: one seed, one
/// run. Clippy keeps clocks and hash order out of them.
const DETERMINISTIC: &[&str] = &[
    "crates/codec",
    "crates/kv",
    "crates/log",
    "crates/machine",
    "crates/node",
    "crates/raft",
    "crates/sim",
];

/// The `clippy.toml` that each of those packages has a copy of.
const DETERMINISTIC_CLIPPY: &str = "xtask/deterministic.clippy.toml";

const DOCUMENT: &str = "ARCHITECTURE.md";

/// Everything that this chore checks.
pub(crate) fn check(workspace: &Workspace) -> Result<Findings, Failure> {
    let (packages, mut findings) = rules(workspace)?;
    let document = workspace.read(DOCUMENT)?;
    match replace_between(&document, "imports", &draw(&packages)) {
        Some(drawn) if drawn == document => {}
        Some(_) => findings.push(format!(
            "{DOCUMENT}: the graph of imports is not what the manifests say: \
             run `cargo xtask imports --write`"
        )),
        None => findings.push(format!("{DOCUMENT}: has no `<!-- begin:imports -->` section")),
    }
    Ok(findings)
}

/// Redraws the graph, and checks the rest.
pub(crate) fn write(workspace: &Workspace) -> Result<Findings, Failure> {
    let (packages, findings) = rules(workspace)?;
    let document = workspace.read(DOCUMENT)?;
    let drawn = replace_between(&document, "imports", &draw(&packages))
        .ok_or_else(|| format!("{DOCUMENT} has no `<!-- begin:imports -->` section"))?;
    workspace.write(DOCUMENT, &drawn)?;
    Ok(findings)
}

fn rules(workspace: &Workspace) -> Result<(Vec<Package>, Findings), Failure> {
    let packages = workspace.packages()?;
    let mut findings = check_imports(&packages);
    findings.extend(check_lints(&packages));
    findings.extend(check_raft(&packages, &workspace.read("crates/raft/src/lib.rs")?));
    let wanted = workspace.read(DETERMINISTIC_CLIPPY)?;
    for folder in DETERMINISTIC {
        let path = format!("{folder}/clippy.toml");
        if workspace.read(&path).ok().as_ref() != Some(&wanted) {
            findings.push(format!("{path}: must be a copy of {DETERMINISTIC_CLIPPY}"));
        }
    }
    Ok((packages, findings))
}

/// A dependency as a manifest declares it.
struct Import {
    name: String,
    /// `dependencies`, `dev-dependencies` or `build-dependencies`.
    table: &'static str,
}

impl Package {
    fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        read_imports(&self.manifest, &mut imports);
        let targets = self.manifest.get("target").and_then(toml::Value::as_table);
        for target in targets.iter().flat_map(|targets| targets.values()) {
            if let Some(target) = target.as_table() {
                read_imports(target, &mut imports);
            }
        }
        imports.sort_by(|a, b| (&a.name, a.table).cmp(&(&b.name, b.table)));
        imports
    }
}

fn read_imports(manifest: &toml::Table, imports: &mut Vec<Import>) {
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let entries = manifest.get(table).and_then(toml::Value::as_table);
        for (key, value) in entries.into_iter().flatten() {
            let renamed = value.get("package").and_then(toml::Value::as_str);
            imports.push(Import { name: renamed.unwrap_or(key).to_owned(), table });
        }
    }
}

fn check_imports(packages: &[Package]) -> Findings {
    let mut findings = Findings::new();
    for package in packages {
        let manifest = format!("{}/Cargo.toml", package.folder);
        let allowed = match ROOMS.iter().find(|room| room.name == package.name) {
            Some(room) if room.folder != package.folder => {
                findings.push(format!("{manifest}: {} belongs in {}", package.name, room.folder));
                continue;
            }
            Some(room) => room.imports,
            None if package.folder.starts_with("examples/") => EXAMPLE_IMPORTS,
            None => {
                findings.push(format!(
                    "{manifest}: {} has no room in the house: enter it in xtask/src/imports.rs \
                     (and say why in docs/adr/)",
                    package.name
                ));
                continue;
            }
        };
        for import in package.imports() {
            let ours = packages.iter().any(|it| it.name == import.name);
            if ours && import.name != package.name && !allowed.contains(&import.name.as_str()) {
                findings.push(format!(
                    "{manifest}: {} may not import {} ([{}]); it may import {}",
                    package.name,
                    import.name,
                    import.table,
                    list(allowed)
                ));
            }
        }
    }
    findings
}

/// Lints hold only for a package that inherits them.
fn check_lints(packages: &[Package]) -> Findings {
    let inherits = |package: &&Package| {
        let lints = package.manifest.get("lints").and_then(|lints| lints.get("workspace"));
        lints.and_then(toml::Value::as_bool) == Some(true)
    };
    let without = packages.iter().filter(|package| !inherits(package));
    without
        .map(|package| format!("{}/Cargo.toml: needs `[lints] workspace = true`", package.folder))
        .collect()
}

/// The algorithm has no dependency at all, nor `std`, nor `unsafe`.
fn check_raft(packages: &[Package], lib: &str) -> Findings {
    let mut findings = Findings::new();
    for package in packages.iter().filter(|package| package.name == "driftless-raft") {
        for import in package.imports().iter().filter(|it| it.table != "dev-dependencies") {
            findings.push(format!(
                "crates/raft/Cargo.toml: the algorithm has no dependencies, not even {}",
                import.name
            ));
        }
    }
    // Its own tests may use more.
    for attribute in ["#![cfg_attr(not(test), no_std)]", "#![forbid(unsafe_code)]"] {
        if !lib.lines().any(|line| line.trim() == attribute) {
            findings.push(format!("crates/raft/src/lib.rs: needs `{attribute}`"));
        }
    }
    findings
}

/// The graph and the table, as they stand in ARCHITECTURE.md.
fn draw(packages: &[Package]) -> String {
    let short = |name: &str| name.strip_prefix("driftless-").unwrap_or(name).to_owned();
    let mut graph = String::from("```mermaid\ngraph TD\n");
    let mut table = String::from("\n| package | what it is | may import |\n|---|---|---|\n");
    for room in ROOMS.iter().filter(|room| room.name != "xtask").rev() {
        let package = packages.iter().find(|package| package.name == room.name);
        let imports = package.map(Package::imports).unwrap_or_default();
        for other in ROOMS {
            let normal = |it: &&Import| it.name == other.name && it.table == "dependencies";
            if imports.iter().any(|it| normal(&it)) {
                let _ = writeln!(graph, "    {} --> {}", short(room.name), short(other.name));
            }
        }
        let names: Vec<String> = room.imports.iter().map(|name| short(name)).collect();
        let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let _ = writeln!(
            table,
            "| [`{}`]({}) | {} | {names} |",
            short(room.name),
            room.folder,
            room.what
        );
    }
    graph.push_str("```\n");
    graph + &table
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{check_imports, check_lints, check_raft, draw};
    use crate::workspace::Package;

    fn package(name: &str, folder: &str, rest: &str) -> Package {
        Package {
            name: name.to_owned(),
            folder: folder.to_owned(),
            manifest: rest.parse().unwrap(),
        }
    }

    #[test]
    fn an_import_against_the_design_is_found_in_every_kind_of_table() {
        for table in [
            "[dependencies]",
            "[dev-dependencies]",
            "[build-dependencies]",
            "[target.'cfg(unix)'.dependencies]",
        ] {
            let packages = [
                package("driftless-raft", "crates/raft", ""),
                package(
                    "driftless-kv",
                    "crates/kv",
                    &format!("{table}\ndriftless-raft.workspace = true"),
                ),
            ];
            let findings = check_imports(&packages);
            assert_eq!(findings.len(), 1, "{table}: {findings:?}");
            assert!(findings[0].contains("driftless-kv may not import driftless-raft"));
        }
    }

    #[test]
    fn a_renamed_import_is_still_found() {
        let packages = [
            package("driftless-raft", "crates/raft", ""),
            package(
                "driftless-kv",
                "crates/kv",
                "[dependencies]\nr = { package = \"driftless-raft\", path = \"../raft\" }",
            ),
        ];
        assert_eq!(check_imports(&packages).len(), 1);
    }

    #[test]
    fn what_the_design_allows_passes_and_is_drawn() {
        let packages = [
            package("driftless-raft", "crates/raft", ""),
            package(
                "driftless-codec",
                "crates/codec",
                "[dependencies]\ndriftless-raft.workspace = true\nbytes = \"1\"",
            ),
        ];
        assert_eq!(check_imports(&packages), Vec::<String>::new());
        assert!(draw(&packages).contains("    codec --> raft\n"));
        assert!(!draw(&packages).contains("kv --> machine"));
    }

    #[test]
    fn a_package_without_a_room_is_found() {
        let packages = [package("driftless-attic", "crates/attic", "")];
        assert_eq!(check_imports(&packages).len(), 1);
        let example = [package("counter", "examples/counter", "")];
        assert_eq!(check_imports(&example), Vec::<String>::new());
    }

    #[test]
    fn the_algorithm_stays_bare() {
        let bare = [package("driftless-raft", "crates/raft", "[dependencies]\n")];
        let lib = "#![cfg_attr(not(test), no_std)]\n#![forbid(unsafe_code)]\n";
        assert_eq!(check_raft(&bare, lib), Vec::<String>::new());
        assert_eq!(check_raft(&bare, "#![cfg_attr(not(test), no_std)]\n").len(), 1);
        let fat = [package("driftless-raft", "crates/raft", "[dependencies]\nbytes = \"1\"")];
        assert_eq!(check_raft(&fat, lib).len(), 1);
    }

    #[test]
    fn a_package_must_inherit_the_lints() {
        assert_eq!(check_lints(&[package("a", "a", "[lints]\nworkspace = true")]).len(), 0);
        assert_eq!(check_lints(&[package("a", "a", "")]).len(), 1);
    }
}
