//! The repeated chores of this workspace: `cargo xtask <chore>`.
//!
//! CI calls what a person can call. Each chore that checks something says what
//! is wrong, where, and what to do, and ends with a non-zero status.

mod imports;
mod mutate;
mod paper;
mod readme;
mod search;
mod source;
mod tidy;
mod workspace;
mod wrong;

use std::process::ExitCode;
use workspace::Workspace;

const USAGE: &str = "\
The chores of this workspace.

  cargo xtask check                 imports, paper, readme and tidy, one after the other, and that
                                    no wrong variant could be built in
  cargo xtask check --deep          the search of all states of the algorithm, with wide bounds:
                                    hours; the small one runs with its tests
  cargo xtask imports [--write]     who may know whom (the table in xtask/src/imports.rs);
                                    --write redraws the graph in ARCHITECTURE.md
  cargo xtask paper [--write]       every rule of paper and thesis has its code and its test;
                                    --write rewrites docs/paper.md
  cargo xtask paper --mutate [ID..] alters every rule (or these) and demands that its test fails
  cargo xtask mutations [--write]   every deliberately wrong variant of algorithm and node is made
                                    and must be noticed; --write writes docs/mutations.md,
                                    --node makes those of the node only
  cargo xtask readme                the README's first two commands are the promised ones
  cargo xtask tidy                  file headers, links in documents, file lengths
";

/// What a chore found wrong: one finding a line, empty when all is well.
type Findings = Vec<String>;

/// A chore that could not be carried out at all, as a message to a person.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(Some(findings)) => report(&words, &findings),
        Ok(None) => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
        Err(failure) => {
            eprintln!("xtask {}: {failure}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// Runs one chore; `None` when there is no such chore.
fn run(words: &[&str]) -> Result<Option<Findings>, Failure> {
    let workspace = Workspace::here()?;
    let findings = match words {
        ["check"] => {
            let mut findings = imports::check(&workspace)?;
            findings.extend(paper::check(&workspace)?);
            findings.extend(readme::check(&workspace)?);
            findings.extend(tidy::check(&workspace)?);
            findings.extend(wrong::check(&workspace)?);
            findings
        }
        ["check", "--deep"] => search::deep(&workspace)?,
        ["imports"] => imports::check(&workspace)?,
        ["imports", "--write"] => imports::write(&workspace)?,
        ["paper"] => paper::check(&workspace)?,
        ["paper", "--write"] => paper::write(&workspace)?,
        ["paper", "--mutate", only @ ..] => mutate::run(&workspace, only)?,
        ["mutations"] => wrong::run(&workspace, false)?,
        ["mutations", "--node"] => wrong::run_node(&workspace)?,
        ["mutations", "--write"] => wrong::run(&workspace, true)?,
        ["readme"] => readme::check(&workspace)?,
        ["tidy"] => tidy::check(&workspace)?,
        _ => return Ok(None),
    };
    Ok(Some(findings))
}

fn report(words: &[&str], findings: &Findings) -> ExitCode {
    for finding in findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        println!("xtask {}: all is well", words.join(" "));
        ExitCode::SUCCESS
    } else {
        eprintln!("xtask {}: {} to put right", words.join(" "), findings.len());
        ExitCode::FAILURE
    }
}
