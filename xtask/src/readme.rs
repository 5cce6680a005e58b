//! The README keeps its promise: two commands, in this order, and they are the
//! ones that CI runs.

use crate::workspace::Workspace;
use crate::{Failure, Findings};

/// A newcomer's first command and second.
const PROMISED: [&str; 2] = ["cargo run --release -- up", "cargo test --workspace"];

/// Checks README.md, and that CI runs the test command that it names.
pub(crate) fn check(workspace: &Workspace) -> Result<Findings, Failure> {
    let mut findings = check_commands(&workspace.read("README.md")?);
    let runs = workspace.read(".ci/run")?;
    if !runs.lines().any(|line| line.trim_end().ends_with(PROMISED[1])) {
        findings.push(format!(".ci/run: must run the README's `{}`", PROMISED[1]));
    }
    Ok(findings)
}

fn check_commands(readme: &str) -> Findings {
    let commands = commands(readme);
    let mut findings = Findings::new();
    for (number, promised) in PROMISED.iter().enumerate() {
        let found = commands.get(number).copied().unwrap_or("nothing");
        if found != *promised {
            findings.push(format!(
                "README.md: command {} must be `{promised}`, is `{found}`",
                number + 1
            ));
        }
    }
    findings
}

/// The commands in blocks of shell code, without their comments.
fn commands(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside && line == "```sh";
        } else if inside {
            let command = line.split(" #").next().unwrap_or(line).trim();
            if !command.is_empty() && !command.starts_with('#') {
                commands.push(command);
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::check_commands;

    #[test]
    fn the_two_commands_stand_first_and_in_order() {
        let good = "# x\n```sh\ncargo run --release -- up   # three nodes\n```\n\
                    ```rust\nfn main() {}\n```\n```sh\ncargo test --workspace\n```\n";
        assert_eq!(check_commands(good), Vec::<String>::new());
        assert_eq!(check_commands("").len(), 2);
        let swapped = "```sh\ncargo test --workspace\n```\n```sh\ncargo run --release -- up\n```\n";
        assert_eq!(check_commands(swapped).len(), 2);
        let hidden = "```text\ncargo run --release -- up\n```\n```sh\ncargo test --workspace\n```";
        assert_eq!(check_commands(hidden).len(), 2);
    }
}
