//! The paper beside the code: every numbered rule of Figures 2 and 13, and of the
//! chapters of the thesis that are used, stands once in the code, has a named test, and a mutation that this test catches.
//!
//! `docs/paper.tsv` lists the rules; `// Rule AE.3: …` cites one in the code;
//! `xtask/mutations.toml` says how each is altered (see `mutate`).

use crate::mutate::{self, Mutation};
use crate::source;
use crate::workspace::Workspace;
use crate::{Failure, Findings};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const RULES: &str = "docs/paper.tsv";
const DOCUMENT: &str = "docs/paper.md";

/// Where rules may be cited and tested.
const PACKAGES: [(&str, &str); 2] =
    [("crates/raft", "driftless-raft"), ("crates/node", "driftless-node")];

/// A rule of the paper.
pub(crate) struct Rule {
    /// `AE.3`.
    pub(crate) id: String,
    /// `AppendEntries RPC`: the box of the figure that it stands in.
    figure: String,
    /// What it says, in our words.
    says: String,
    /// The name of the test that fails when it is altered.
    pub(crate) test: String,
}

/// Where something stands.
#[derive(Clone)]
pub(crate) struct Place {
    /// The file, relative to the root.
    pub(crate) file: String,
    /// The line, counted from 0.
    pub(crate) line: usize,
    /// The function around it.
    item: String,
}

/// Rules, code, tests and mutations, joined.
pub(crate) struct Paper {
    pub(crate) rules: Vec<Rule>,
    code: BTreeMap<String, Vec<Place>>,
    tests: BTreeMap<String, Vec<Place>>,
    pub(crate) mutations: Vec<Mutation>,
}

/// Checks that nothing is missing and that docs/paper.md is up to date.
pub(crate) fn check(workspace: &Workspace) -> Result<Findings, Failure> {
    let paper = Paper::read(workspace)?;
    let mut findings = paper.gaps(workspace)?;
    if findings.is_empty() && workspace.read(DOCUMENT).ok() != Some(paper.document()) {
        findings.push(format!("{DOCUMENT}: is not up to date: run `cargo xtask paper --write`"));
    }
    Ok(findings)
}

/// Checks that nothing is missing and writes docs/paper.md.
pub(crate) fn write(workspace: &Workspace) -> Result<Findings, Failure> {
    let paper = Paper::read(workspace)?;
    let findings = paper.gaps(workspace)?;
    if findings.is_empty() {
        workspace.write(DOCUMENT, &paper.document())?;
    }
    Ok(findings)
}

impl Paper {
    pub(crate) fn read(workspace: &Workspace) -> Result<Self, Failure> {
        let mut code: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        let mut tests: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for (folder, _) in PACKAGES {
            for file in workspace.files(folder, "rs")? {
                let text = workspace.read(&file)?;
                if file.contains("/src/") && !source::is_test_file(&file) {
                    citations(&file, &text, &mut code);
                }
                named_tests(&file, &text, &mut tests);
            }
        }
        let rules = parse_rules(&workspace.read(RULES)?)?;
        Ok(Self { rules, code, tests, mutations: mutate::read(workspace)? })
    }

    /// Where the rule's test stands: the place, the package's folder and name.
    pub(crate) fn test_of(&self, rule: &Rule) -> Option<(&Place, &'static str, &'static str)> {
        let place = self.tests.get(&rule.test)?.first()?;
        let (folder, package) =
            PACKAGES.iter().find(|(folder, _)| place.file.starts_with(&format!("{folder}/")))?;
        Some((place, folder, package))
    }

    /// Where the rule is cited.
    pub(crate) fn code_of(&self, id: &str) -> Option<&Place> {
        self.code.get(id)?.first()
    }

    /// Everything that does not join.
    pub(crate) fn gaps(&self, workspace: &Workspace) -> Result<Findings, Failure> {
        let mut findings = self.gaps_in_code();
        for rule in &self.rules {
            if !self.mutations.iter().any(|mutation| mutation.rule == rule.id) {
                findings.push(format!(
                    "{}: rule {} has no mutation, so nothing shows that its test can fail",
                    mutate::TABLE,
                    rule.id
                ));
            }
        }
        for mutation in &self.mutations {
            if !self.rules.iter().any(|rule| rule.id == mutation.rule) {
                findings.push(format!("{}: there is no rule {}", mutate::TABLE, mutation.rule));
            } else if let Some(place) = self.code_of(&mutation.rule) {
                findings.extend(mutation.misfit(place, &workspace.read(&place.file)?));
            }
        }
        Ok(findings)
    }

    fn gaps_in_code(&self) -> Findings {
        let mut findings = Findings::new();
        for rule in &self.rules {
            let id = &rule.id;
            match self.code.get(id).map_or(&[][..], Vec::as_slice) {
                [] => findings.push(format!("{RULES}: no code cites `// Rule {id}:`")),
                [_] => {}
                places => findings.push(format!(
                    "{RULES}: rule {id} is cited {} times, must be once: {}",
                    places.len(),
                    places.iter().map(Place::to_string).collect::<Vec<_>>().join(", ")
                )),
            }
            match self.tests.get(&rule.test).map_or(&[][..], Vec::as_slice) {
                [] => findings.push(format!("{RULES}: rule {id}: no test `{}`", rule.test)),
                [_] => {}
                places => findings.push(format!(
                    "{RULES}: rule {id}: the name `{}` is not unique: {}",
                    rule.test,
                    places.iter().map(Place::to_string).collect::<Vec<_>>().join(", ")
                )),
            }
        }
        for (id, places) in &self.code {
            if !self.rules.iter().any(|rule| rule.id == *id) {
                findings.push(format!("{}: cites rule {id}, which {RULES} lacks", places[0]));
            }
        }
        findings
    }

    fn document(&self) -> String {
        let mut text = String::from(
            "# The paper, the code, the tests\n\n\
             Every numbered rule of Figures 2 and 13 of *In Search of an Understandable Consensus\n\
             Algorithm (Extended Version)* and those taken from *Consensus: Bridging Theory and\n\
             Practice*, the function that carries it out, the test that fails\n\
             when that line is altered, and the alteration by which this is shown\n\
             (`cargo xtask paper --mutate`).\n\n\
             Written by `cargo xtask paper --write` from [paper.tsv](paper.tsv), the citations\n\
             `// Rule …:` in the code and [mutations.toml](../xtask/mutations.toml); edit those.\n",
        );
        let mut figure = "";
        for rule in &self.rules {
            if rule.figure != figure {
                figure = &rule.figure;
                let _ = write!(
                    text,
                    "\n## {figure}\n\n| rule | says | code | test | altered |\n|---|---|---|---|---|\n"
                );
            }
            let altered = self.mutations.iter().filter(|mutation| mutation.rule == rule.id);
            let altered: Vec<&str> = altered.map(|mutation| mutation.what.as_str()).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                rule.id,
                rule.says,
                self.code_of(&rule.id).map(Place::link).unwrap_or_default(),
                self.test_of(rule).map(|(place, ..)| place.link()).unwrap_or_default(),
                altered.join("; "),
            );
        }
        text
    }
}

impl Place {
    #[cfg(test)]
    pub(crate) fn at(file: &str, line: usize) -> Self {
        Self { file: file.to_owned(), line, item: String::new() }
    }

    /// A link to the file, named by the function; without the line, which moves.
    fn link(&self) -> String {
        let short = self.file.trim_start_matches("crates/").replacen("/src/", "/", 1);
        format!("[`{}`](../{}) in {short}", self.item, self.file)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line + 1)
    }
}

fn parse_rules(text: &str) -> Result<Vec<Rule>, Failure> {
    let mut rules: Vec<Rule> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') || line.starts_with("id\t") {
            continue;
        }
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        let [id, figure, says, test] = fields[..] else {
            return Err(format!(
                "{RULES}:{}: has {} fields; needs four, separated by tabs: id, figure, rule, test",
                number + 1,
                fields.len()
            )
            .into());
        };
        if fields.iter().any(|field| field.is_empty()) {
            return Err(format!("{RULES}:{}: a field is empty", number + 1).into());
        }
        if rules.iter().any(|rule| rule.id == id) {
            return Err(format!("{RULES}:{}: rule {id} is listed twice", number + 1).into());
        }
        let [id, figure, says, test] = [id, figure, says, test].map(str::to_owned);
        rules.push(Rule { id, figure, says, test });
    }
    if rules.is_empty() {
        return Err(format!("{RULES} lists no rules").into());
    }
    Ok(rules)
}

/// Collects `// Rule ID: …` from the code of one file.
fn citations(file: &str, text: &str, code: &mut BTreeMap<String, Vec<Place>>) {
    let lines = source::code_lines(text);
    for (number, line) in lines.iter().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
        let comment = comment.trim_start_matches(['/', '!', ' ']);
        let Some((id, _)) = comment.strip_prefix("Rule ").and_then(|it| it.split_once(':')) else {
            continue;
        };
        let item = source::item_around(&lines, number).unwrap_or("?").to_owned();
        let place = Place { file: file.to_owned(), line: number, item };
        code.entry(id.to_owned()).or_default().push(place);
    }
}

/// Collects the test functions of one file by name.
fn named_tests(file: &str, text: &str, tests: &mut BTreeMap<String, Vec<Place>>) {
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        if let Some(name) = source::function_name(line)
            && source::is_test(&lines, number)
        {
            let place = Place { file: file.to_owned(), line: number, item: name.to_owned() };
            tests.entry(name.to_owned()).or_default().push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Paper, citations, named_tests, parse_rules};
    use std::collections::BTreeMap;

    const TSV: &str = "id\tfigure\trule\ttest\nAE.1\tAppendEntries\tRefuse an old term\trefuses\n";
    const CODE: &str = "fn append() {\n    // Rule AE.1: an old leader is refused.\n    x();\n}\n";
    const TEST: &str = "#[test]\nfn refuses() {}\n";

    fn joined(code: &str, test: &str) -> Vec<String> {
        let mut paper = Paper {
            rules: parse_rules(TSV).unwrap(),
            code: BTreeMap::new(),
            tests: BTreeMap::new(),
            mutations: Vec::new(),
        };
        citations("crates/raft/src/a.rs", code, &mut paper.code);
        named_tests("crates/raft/tests/a.rs", test, &mut paper.tests);
        paper.gaps_in_code()
    }

    #[test]
    fn a_joined_rule_has_no_gap() {
        assert_eq!(joined(CODE, TEST), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_gap_is_found() {
        assert!(joined("", TEST)[0].contains("no code cites"));
        assert!(joined(&CODE.repeat(2), TEST)[0].contains("cited 2 times"));
        assert!(joined(CODE, "fn refuses() {}")[0].contains("no test"));
        assert!(joined(CODE, &TEST.repeat(2))[0].contains("not unique"));
        let stray = CODE.to_owned() + "// Rule AE.9: what is this?\nfn other() {}\n";
        assert!(joined(&stray, TEST)[0].contains("cites rule AE.9"));
    }

    #[test]
    fn a_malformed_list_is_refused() {
        assert!(parse_rules("AE.1\tbox\trule").is_err());
        assert!(parse_rules("AE.1\tbox\trule\t").is_err());
        assert!(parse_rules("AE.1\tb\tr\tt\nAE.1\tb\tr\tt").is_err());
        assert!(parse_rules("# nothing\n").is_err());
    }
}
