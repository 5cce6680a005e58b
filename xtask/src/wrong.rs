//! The wrong variants: every mutation of the list that lives in the algorithm or
//! the node is made, and some checker must notice: `cargo xtask mutations`.
//!
//! Three kinds, none of which a build that ships can contain. Those of the
//! algorithm are the real step with one rule broken, in the tests of its package
//! (crates/raft/src/search); the search finds them, and exhausts the right step
//! within the same bounds. Those of the node are made in a copy of the sources
//! (`wrong.toml`), and a named test notices. Those that the host plants are in the
//! simulator's world (`Sabotage`), where a campaign of seeds finds them.

use crate::mutate::{Copy, NamedTest, Verdict};
use crate::source;
use crate::workspace::Workspace;
use crate::{Failure, Findings};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

const TABLE: &str = "xtask/wrong.toml";
const DOCUMENT: &str = "docs/mutations.md";

/// The mutations that live in the algorithm or the node. (30 and 32 to 34 are the
/// log's, and its own tests are for them.)
fn numbers() -> impl Iterator<Item = u64> {
    (1..=29).chain(35..=38)
}

/// What does not apply, and why.
const NOT_YET: (&str, &str) =
    ("31", "damaged counted as don't-have: does not apply yet, nothing is repaired from peers");

/// How many variants number 36 has.
const LIVENESS: usize = 3;

/// A line of the table.
struct Row {
    number: String,
    what: String,
    noticed: String,
    bounds: String,
    after: String,
    right: String,
}

impl Row {
    /// From what a test printed: `mutation`, then the fields, apart by tabs.
    fn parse(line: &str) -> Option<Self> {
        let at = line.find("mutation\t")?;
        let fields: Vec<&str> = line[at..].split('\t').collect();
        let [_, number, what, noticed, bounds, after, right] = fields[..] else { return None };
        let [number, what, noticed, bounds, after, right] =
            [number, what, noticed, bounds, after, right].map(str::to_owned);
        Some(Self { number, what, noticed, bounds, after, right })
    }

    fn text(&self) -> String {
        let Self { number, what, noticed, bounds, after, right } = self;
        format!("| {number} | {what} | {noticed} | {bounds} | {after} | {right} |")
    }

    fn order(&self) -> (u64, String) {
        (
            self.number.parse().ok().filter(|number| *number > 0).unwrap_or(u64::MAX),
            self.what.clone(),
        )
    }
}

/// One wrong variant of the node.
struct Wrong {
    number: u64,
    what: String,
    file: String,
    find: String,
    replace: String,
    test: String,
}

fn read(workspace: &Workspace) -> Result<Vec<Wrong>, Failure> {
    let table = workspace.manifest(TABLE)?;
    let entries = table.get("wrong").and_then(toml::Value::as_array);
    let mut all = Vec::new();
    for (at, entry) in entries.into_iter().flatten().enumerate() {
        let field = |name: &str| -> Result<String, Failure> {
            let value = entry.get(name).and_then(toml::Value::as_str);
            Ok(value
                .ok_or_else(|| format!("{TABLE}: entry {} has no `{name}`", at + 1))?
                .to_owned())
        };
        let number = entry.get("number").and_then(toml::Value::as_integer);
        let number = number.ok_or_else(|| format!("{TABLE}: entry {} has no number", at + 1))?;
        all.push(Wrong {
            number: number.try_into()?,
            what: field("what")?,
            file: field("file")?,
            find: field("find")?,
            replace: field("replace")?,
            test: field("test")?,
        });
    }
    Ok(all)
}

/// Checks what can be seen without running anything: that no wrong variant is
/// where a build could reach it, and that those of the node can still be made.
pub(crate) fn check(workspace: &Workspace) -> Result<Findings, Failure> {
    let mut findings = Findings::new();
    let library = workspace.read("crates/raft/src/lib.rs")?;
    if !library.contains("#[cfg(test)]\nmod search;") {
        findings.push("crates/raft/src/lib.rs: `mod search` must be for tests only".to_owned());
    }
    for package in workspace.packages()? {
        let folder = &package.folder;
        if package.manifest.contains_key("features") {
            let features = &package.manifest["features"];
            let named = features.as_table().into_iter().flat_map(toml::Table::keys);
            for name in named.filter(|name| name.contains("mutant") || name.contains("wrong")) {
                findings.push(format!("{folder}/Cargo.toml: feature {name} could be switched on"));
            }
        }
        for file in workspace.files(folder, "rs")? {
            let own = file.starts_with("crates/raft/src/search/") || folder == "xtask";
            let planted = file.starts_with("crates/sim/") || folder == "crates/cli";
            if own || source::is_test_file(&file) || file.contains("/tests/") {
                continue;
            }
            let text = workspace.read(&file)?;
            for line in source::code_lines(&text) {
                if line.contains("Mutant") || line.contains("Sabotage") && !planted {
                    findings.push(format!("{file}: a wrong variant has no place here: {line}"));
                }
            }
        }
    }
    for wrong in read(workspace)? {
        let found = workspace.read(&wrong.file)?.matches(&wrong.find).count();
        if found != 1 {
            let Wrong { number, file, .. } = &wrong;
            findings
                .push(format!("{TABLE}: {number}: {file} has the text {found} times, not once"));
        }
    }
    Ok(findings)
}

/// Makes them all, prints the table, and says which nobody noticed. With `write`,
/// the table goes into docs/mutations.md too.
pub(crate) fn run(workspace: &Workspace, write: bool) -> Result<Findings, Failure> {
    let mut findings = check(workspace)?;
    let mut rows = Vec::new();
    let search = ["--package", "driftless-raft", "--lib", "--", "mutant_", "--nocapture"];
    let worlds =
        ["--package", "driftless-sim", "--test", "planted", "--", "every_planted", "--nocapture"];
    for arguments in [&search[..], &worlds[..]] {
        if !tests(workspace, arguments, &mut rows)? {
            findings.push(format!(
                "a wrong variant was not noticed: cargo test {}",
                arguments.join(" ")
            ));
        }
    }
    nodes(workspace, &mut rows, &mut findings)?;
    rows.sort_by_key(Row::order);
    let text = document(&rows);
    println!("{text}");
    let made: BTreeSet<&str> = rows.iter().map(|row| row.number.as_str()).collect();
    for number in numbers().filter(|number| !made.contains(number.to_string().as_str())) {
        findings.push(format!("mutation {number}: nothing was run for it"));
    }
    if rows.iter().filter(|row| row.number == "36").count() < LIVENESS {
        findings.push(format!("mutation 36: has {LIVENESS} variants"));
    }
    if write && findings.is_empty() {
        workspace.write(DOCUMENT, &text)?;
    }
    Ok(findings)
}

/// Makes those of the node only.
pub(crate) fn run_node(workspace: &Workspace) -> Result<Findings, Failure> {
    let (mut rows, mut findings) = (Vec::new(), check(workspace)?);
    nodes(workspace, &mut rows, &mut findings)?;
    for row in rows {
        println!("{}", row.text());
    }
    Ok(findings)
}

/// Runs tests that print rows; whether they pass.
fn tests(workspace: &Workspace, arguments: &[&str], rows: &mut Vec<Row>) -> Result<bool, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace.path(""))
        .arg("test")
        .args(arguments)
        .env("DRIFTLESS_EXHAUST_UNMUTATED", "1")
        .env("RUST_BACKTRACE", "0")
        .stderr(Stdio::inherit())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    rows.extend(printed.lines().filter_map(Row::parse));
    if !output.status.success() {
        println!("{printed}");
    }
    Ok(output.status.success())
}

/// Makes those of the node, one at a time, in a copy.
fn nodes(
    workspace: &Workspace,
    rows: &mut Vec<Row>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let copy = Copy::new(workspace)?;
    for Wrong { number, what, file, find, replace, test } in read(workspace)? {
        let named = NamedTest {
            name: &test,
            package: "driftless-node",
            folder: "crates/node",
            target: vec!["--lib".to_owned()],
        };
        let right = copy.test(&named)?;
        let wrong = copy.replaced(&file, &find, &replace, || copy.test(&named))?;
        if right != Verdict::Passed || wrong != Verdict::Failed {
            let (right, wrong) = (right.word(), wrong.word());
            findings
                .push(format!("mutation {number} ({what}): `{test}` {right}, altered it {wrong}"));
        }
        rows.push(Row {
            number: number.to_string(),
            what,
            noticed: format!("node test `{test}`"),
            bounds: "-".to_owned(),
            after: wrong.word().to_owned(),
            right: right.word().to_owned(),
        });
    }
    Ok(())
}

fn document(rows: &[Row]) -> String {
    let mut text = String::from(
        "# The wrong variants, and who notices\n\n\
         Every deliberately wrong variant of the algorithm and its host, the check that noticed\n\
         it, within which bounds, after how much; and the right code within the same bounds.\n\
         Written by `cargo xtask mutations --write`; how they are made and why no build can\n\
         contain one: [wrong.rs](../xtask/src/wrong.rs).\n\n\
         | no. | wrong variant | noticed by | bounds | after | the right code |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows {
        text.push_str(&row.text());
        text.push('\n');
    }
    let (number, why) = NOT_YET;
    text + &format!("\nNumber {number}, {why}.\n")
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn a_row_is_found_behind_what_the_harness_prints() {
        let row = Row::parse("test a ... mutation\t7\twhat\twho\tbounds\tafter\tright").unwrap();
        assert_eq!(row.text(), "| 7 | what | who | bounds | after | right |");
        assert!(Row::parse("mutation\t7\twhat").is_none());
        assert!(Row::parse("test a ... ok").is_none());
    }
}
