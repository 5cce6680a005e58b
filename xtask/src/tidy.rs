//! Style that a program can check: every source file says what it is, every
//! link in a document leads somewhere, long files are named.
//!
//! `todo!`, `unimplemented!`, `dbg!` and `unwrap` are clippy's to refuse
//! (`imports` checks that every package inherits those lints); here only what
//! promises them in words is refused.

use crate::workspace::Workspace;
use crate::{Failure, Findings};

/// Past this many lines a file is a question to answer, not an error.
const LINES_MAX: usize = 500;

/// Words of work left undone, spelt so that this file does not hold them.
const UNDONE: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Everything that this chore checks.
pub(crate) fn check(workspace: &Workspace) -> Result<Findings, Failure> {
    let mut findings = Findings::new();
    for folder in ["crates", "examples", "xtask", "interop"] {
        for file in workspace.files(folder, "rs")? {
            let text = workspace.read(&file)?;
            findings.extend(check_source(&file, &text));
            let lines = text.lines().count();
            if lines > LINES_MAX {
                println!("note: {file} has {lines} lines: could it be two?");
            }
        }
    }
    for file in workspace.files("", "md")? {
        let text = workspace.read(&file)?;
        for link in links(&text) {
            findings.extend(check_link(workspace, &file, &text, link)?);
        }
    }
    Ok(findings)
}

fn check_source(file: &str, text: &str) -> Findings {
    let mut findings = Findings::new();
    if !text.starts_with("//!") {
        findings.push(format!("{file}: must open with `//!`: what it is and where it stands"));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(word) = UNDONE.iter().find(|word| line.contains(**word)) {
            findings.push(format!("{file}:{}: {word}: do it, or open an issue", number + 1));
        }
    }
    findings
}

/// The targets of `[text](target)` outside of code.
fn links(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut links = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            let ends = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
            links.extend(ends.filter_map(|rest| rest.split(')').next()));
        }
    }
    links
}

fn check_link(
    workspace: &Workspace,
    file: &str,
    text: &str,
    link: &str,
) -> Result<Option<String>, Failure> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let target = if path.is_empty() { file.to_owned() } else { resolve(folder, path) };
    if !workspace.exists(&target) {
        return Ok(Some(format!("{file}: links to {link}, but there is no {target}")));
    }
    if anchor.is_empty() || !target.to_ascii_lowercase().ends_with(".md") {
        return Ok(None);
    }
    let held = if path.is_empty() {
        has_heading(text, anchor)
    } else {
        has_heading(&workspace.read(&target)?, anchor)
    };
    Ok((!held).then(|| format!("{file}: links to {link}, but {target} has no such heading")))
}

/// `path` as seen from `folder`, relative to the root.
fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a heading of `text` has this anchor, made as GitHub makes it.
fn has_heading(text: &str, anchor: &str) -> bool {
    text.lines().filter(|line| line.starts_with('#')).any(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>() == anchor
    })
}

#[cfg(test)]
mod tests {
    use super::{UNDONE, check_source, has_heading, links, resolve};

    #[test]
    fn a_source_file_says_what_it_is() {
        assert_eq!(check_source("a.rs", "//! What it is.\nfn a() {}\n"), Vec::<String>::new());
        assert_eq!(check_source("a.rs", "use b;\n").len(), 1);
        assert_eq!(check_source("a.rs", &format!("//! x\n// {}: later\n", UNDONE[0])).len(), 1);
    }

    #[test]
    fn finds_links_outside_of_code() {
        let text = "see [a](b.md) and [c](d/e.md#f)\n```\n[not](this)\n```\n";
        assert_eq!(links(text), ["b.md", "d/e.md#f"]);
    }

    #[test]
    fn resolves_paths_and_anchors() {
        assert_eq!(resolve("docs/adr", "../paper.md"), "docs/paper.md");
        assert_eq!(resolve("", "./docs/paper.md"), "docs/paper.md");
        assert!(has_heading("# A\n## What is not there, yet\n", "what-is-not-there-yet"));
        assert!(!has_heading("# A\n", "b"));
    }
}
