//! Altering the rules of the paper, one by one: each named test must fail when
//! its rule's line is altered, and pass when it is not.
//!
//! A copy of the packages stands under the target directory; one line of it is
//! changed at a time, and only the named test is run.

use crate::paper::{Paper, Place, Rule};
use crate::workspace::Workspace;
use crate::{Failure, Findings};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The alterations.
pub(crate) const TABLE: &str = "xtask/mutations.toml";

/// What the copy holds: the packages that cite rules and what they import.
const COPIED: [&str; 5] =
    ["crates/raft", "crates/codec", "crates/machine", "crates/log", "crates/node"];

/// How far from its citation a mutation may stand, in lines: right above, where
/// the condition is, or below.
const ABOVE_LINES: usize = 2;
const BELOW_LINES: usize = 30;

/// How long one test may run: an alteration that makes it hang is no proof.
const TEST_SECONDS_MAX: u64 = 180;

/// One alteration of a rule.
pub(crate) struct Mutation {
    /// The rule that it breaks.
    pub(crate) rule: String,
    /// The file, relative to the root.
    file: String,
    /// Text that occurs there exactly once.
    find: String,
    /// What takes its place.
    replace: String,
    /// The wrong rule, in words.
    pub(crate) what: String,
}

/// Reads the table of alterations.
pub(crate) fn read(workspace: &Workspace) -> Result<Vec<Mutation>, Failure> {
    let table = workspace.manifest(TABLE)?;
    let entries = table.get("mutation").and_then(toml::Value::as_array);
    let mut mutations = Vec::new();
    for (number, entry) in entries.into_iter().flatten().enumerate() {
        let field = |name: &str| -> Result<String, Failure> {
            let value = entry.get(name).and_then(toml::Value::as_str);
            let missing = || format!("{TABLE}: mutation {} has no `{name}`", number + 1);
            Ok(value.ok_or_else(missing)?.to_owned())
        };
        mutations.push(Mutation {
            rule: field("rule")?,
            file: field("file")?,
            find: field("find")?,
            replace: field("replace")?,
            what: field("what")?,
        });
    }
    Ok(mutations)
}

impl Mutation {
    /// Says why this does not alter the line that cites the rule, if so.
    pub(crate) fn misfit(&self, cited: &Place, text: &str) -> Option<String> {
        let rule = &self.rule;
        if cited.file != self.file {
            return Some(format!("{TABLE}: rule {rule} is cited in {}, not there", cited.file));
        }
        if self.find == self.replace {
            return Some(format!("{TABLE}: the mutation of {rule} changes nothing"));
        }
        match text.match_indices(&self.find).map(|(at, _)| at).collect::<Vec<_>>()[..] {
            [] => Some(format!("{TABLE}: {rule}: {} no longer has the text to alter", self.file)),
            [at] => {
                let line = text[..at].matches('\n').count();
                let near = line + ABOVE_LINES >= cited.line && line <= cited.line + BELOW_LINES;
                (!near).then(|| {
                    format!(
                        "{TABLE}: {rule}: alters line {} but is cited at {cited}: the citation \
                         belongs right above the line that carries out the rule",
                        line + 1
                    )
                })
            }
            _ => Some(format!("{TABLE}: {rule}: the text to alter is not unique in {}", self.file)),
        }
    }
}

/// What became of a test.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// It did not end in time.
    Hung,
    DoesNotCompile,
    /// No test of that name ran.
    NotRun,
}

/// Alters every rule, or those named, and prints a table.
pub(crate) fn run(workspace: &Workspace, only: &[&str]) -> Result<Findings, Failure> {
    let paper = Paper::read(workspace)?;
    let mut findings = if only.is_empty() { paper.gaps(workspace)? } else { Findings::new() };
    if let Some(id) = only.iter().find(|id| !paper.rules.iter().any(|rule| rule.id == **id)) {
        return Err(format!("there is no rule {id}").into());
    }
    let copy = Copy::new(workspace)?;
    println!("{:6} {:62} {:10} altered", "rule", "test", "unaltered");
    let (mut caught, mut tried) = (0, 0);
    for rule in paper.rules.iter().filter(|it| only.is_empty() || only.contains(&it.id.as_str())) {
        let Some(test) = NamedTest::of(&paper, rule) else { continue };
        let unaltered = copy.test(&test)?;
        let mut row = format!("{:6} {:62} {:10}", rule.id, rule.test, unaltered.word());
        if unaltered != Verdict::Passed {
            findings.push(format!("rule {}: unaltered, `{}` must pass", rule.id, rule.test));
        }
        for mutation in paper.mutations.iter().filter(|mutation| mutation.rule == rule.id) {
            let started = Instant::now();
            let verdict = copy.altered(mutation, || copy.test(&test))?;
            let seconds = started.elapsed().as_secs_f32();
            let first = if row.ends_with(')') { ';' } else { ' ' };
            let _ = write!(row, "{first} {}: {} ({seconds:.1} s)", verdict.word(), mutation.what);
            tried += 1;
            match verdict {
                Verdict::Failed => caught += 1,
                Verdict::Passed => findings.push(format!(
                    "rule {}: `{}` passes although {}",
                    rule.id, rule.test, mutation.what
                )),
                Verdict::Hung | Verdict::DoesNotCompile | Verdict::NotRun => findings.push(
                    format!("{TABLE}: rule {}: altered, the test {}", rule.id, verdict.word()),
                ),
            }
        }
        println!("{row}");
    }
    println!("{caught} of {tried} alterations caught by the test named for their rule");
    Ok(findings)
}

impl Verdict {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passes",
            Self::Failed => "fails",
            Self::Hung => "hangs",
            Self::DoesNotCompile => "does not compile",
            Self::NotRun => "does not run",
        }
    }
}

/// How to run one test.
pub(crate) struct NamedTest<'a> {
    pub(crate) name: &'a str,
    pub(crate) package: &'static str,
    pub(crate) folder: &'static str,
    /// `--lib`, or `--test FILE`.
    pub(crate) target: Vec<String>,
}

impl<'a> NamedTest<'a> {
    fn of(paper: &Paper, rule: &'a Rule) -> Option<Self> {
        let (place, folder, package) = paper.test_of(rule)?;
        let target = match place.file.split_once("/tests/") {
            Some((above, below)) if !above.contains("/src") => {
                let name = below.split('/').next().unwrap_or(below).trim_end_matches(".rs");
                vec!["--test".to_owned(), name.to_owned()]
            }
            _ => vec!["--lib".to_owned()],
        };
        Some(Self { name: &rule.test, package, folder, target })
    }
}

/// A copy of the packages in which rules are altered.
pub(crate) struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    pub(crate) fn new(workspace: &Workspace) -> Result<Self, Failure> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace.path("target"), PathBuf::from);
        let copy = Self { root: target.join("paper/copy"), target: target.join("paper/build") };
        if copy.root.exists() {
            fs::remove_dir_all(&copy.root)?;
        }
        for folder in COPIED {
            copy_folder(&workspace.path(folder), &copy.root.join(folder))?;
        }
        let mut manifest = workspace.manifest("Cargo.toml")?;
        // What is run here is small: it is compiling that takes the time.
        manifest.remove("profile");
        let members = COPIED.iter().map(|&folder| folder.into()).collect();
        if let Some(root) = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut) {
            root.insert("members".to_owned(), toml::Value::Array(members));
            root.remove("default-members");
        }
        fs::write(copy.root.join("Cargo.toml"), toml::to_string(&manifest)?)?;
        fs::copy(workspace.path("Cargo.lock"), copy.root.join("Cargo.lock"))?;
        Ok(copy)
    }

    fn altered<T>(
        &self,
        mutation: &Mutation,
        action: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.replaced(&mutation.file, &mutation.find, &mutation.replace, action)
    }

    /// Carries out `action` while one text takes the place of another in the copy.
    pub(crate) fn replaced<T>(
        &self,
        file: &str,
        find: &str,
        replace: &str,
        action: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let path = self.root.join(file);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replacen(find, replace, 1))?;
        let outcome = action();
        fs::write(&path, text)?;
        outcome
    }

    pub(crate) fn test(&self, test: &NamedTest<'_>) -> Result<Verdict, Failure> {
        let built = Command::new(std::env::var("CARGO").unwrap_or("cargo".to_owned()))
            .args(["test", "--quiet", "--no-run", "--message-format=json-render-diagnostics"])
            .args(["--package", test.package])
            .args(&test.target)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            // What an alteration leaves unused is not news.
            .env("RUSTFLAGS", "-Awarnings")
            .stderr(Stdio::inherit())
            .output()?;
        if !built.status.success() {
            return Ok(Verdict::DoesNotCompile);
        }
        let messages = String::from_utf8_lossy(&built.stdout);
        let binary = executable(&messages).ok_or("cargo built no test")?;
        // To a file, so that a test that prints much is not held up by a full pipe.
        let printed = self.root.join("printed.txt");
        let mut child = Command::new(binary)
            .args([test.name, "--format", "pretty", "--test-threads", "1"])
            .current_dir(self.root.join(test.folder))
            .stdout(fs::File::create(&printed)?)
            .stderr(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + Duration::from_secs(TEST_SECONDS_MAX);
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(Verdict::Hung);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(verdict(test.name, &String::from_utf8_lossy(&fs::read(&printed)?)))
    }
}

/// The last executable that cargo's messages name.
fn executable(messages: &str) -> Option<&str> {
    let (_, after) = messages.rsplit_once("\"executable\":\"")?;
    after.split('"').next()
}

/// What the test harness said about the test called `name`, in whichever module.
fn verdict(name: &str, printed: &str) -> Verdict {
    let outcomes = printed.lines().filter_map(|line| {
        let (path, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let path = path.trim_end_matches(" - should panic");
        (path.rsplit("::").next() == Some(name)).then_some(outcome)
    });
    match outcomes.collect::<Vec<_>>()[..] {
        ["ok"] => Verdict::Passed,
        ["FAILED"] => Verdict::Failed,
        _ => Verdict::NotRun,
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Mutation, Verdict, executable, verdict};
    use crate::paper::Place;

    #[test]
    fn the_test_binary_is_found_in_what_cargo_says() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"executable\":\"/t/debug/deps/a-1\",\"fresh\":false}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some("/t/debug/deps/a-1"));
        assert_eq!(executable("{}"), None);
    }

    #[test]
    fn a_mutation_must_alter_the_cited_line_and_nothing_else() {
        let mutation = |find: &str, replace: &str| Mutation {
            rule: "AE.1".to_owned(),
            file: "a.rs".to_owned(),
            find: find.to_owned(),
            replace: replace.to_owned(),
            what: String::new(),
        };
        let text =
            "x < y\n\n\n// Rule AE.1: so\na < b\nc\nc\n".to_owned() + &"\n".repeat(40) + "far";
        let cited = Place::at("a.rs", 3);
        assert_eq!(mutation("a < b", "a > b").misfit(&cited, &text), None);
        for (find, replace, says) in [
            ("a < b", "a < b", "changes nothing"),
            ("gone", "", "no longer has"),
            ("c", "", "is not unique"),
            ("x < y", "x > y", "alters line 1"),
            ("far", "", "alters line 48"),
        ] {
            let misfit = mutation(find, replace).misfit(&cited, &text).unwrap();
            assert!(misfit.contains(says), "{misfit}");
        }
        let elsewhere = Place::at("b.rs", 3);
        assert!(mutation("a < b", "").misfit(&elsewhere, &text).unwrap().contains("cited in b.rs"));
    }

    #[test]
    fn the_harness_is_read_rightly() {
        let printed = "\nrunning 2 tests\ntest rpc::tests::one ... ok\n\
                       test rpc::tests::one_more ... FAILED\n\nfailures:\n";
        assert!(verdict("one", printed) == Verdict::Passed);
        assert!(verdict("one_more", printed) == Verdict::Failed);
        assert!(verdict("two", printed) == Verdict::NotRun);
        assert!(verdict("one", "test one ... ignored\n") == Verdict::NotRun);
    }
}
