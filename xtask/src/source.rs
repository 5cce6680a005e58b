//! Reading Rust sources just well enough to say where something stands.

/// Whether the file holds tests only.
pub(crate) fn is_test_file(path: &str) -> bool {
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    let names = ["test", "tests", "testing"];
    path.contains("/tests/") || names.contains(&stem.rsplit('_').next().unwrap_or(stem))
}

/// The lines of a file before its test module, if it has one inside.
pub(crate) fn code_lines(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

/// What a line declares, if it begins a function: its name.
pub(crate) fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        if let Some(name) = rest.strip_prefix("fn ") {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            return Some(&name[..end]);
        }
        let (word, after) = rest.split_once(' ')?;
        let qualifier = matches!(word, "pub" | "const" | "async" | "unsafe" | "extern")
            || word.starts_with("pub(")
            || word.starts_with('"');
        if !qualifier {
            return None;
        }
        rest = after;
    }
}

/// What a line declares, if it begins a type: its name.
fn type_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").or(line.strip_prefix("pub(crate) ")).unwrap_or(line);
    let name = ["struct ", "enum ", "const ", "trait "].iter().find_map(|it| line.strip_prefix(it));
    name.and_then(|it| it.split(|c: char| !c.is_alphanumeric() && c != '_').next())
}

/// The function that line `at` stands in; for one between items, the item that
/// follows.
pub(crate) fn item_around<'a>(lines: &[&'a str], at: usize) -> Option<&'a str> {
    let mut limit = indentation(lines[at]);
    for line in lines[..at].iter().rev().filter(|line| !line.trim().is_empty()) {
        if indentation(line) >= limit {
            continue;
        }
        if let Some(name) = function_name(line) {
            return Some(name);
        }
        let text = line.trim_start();
        // The end of a signature or of a block before ours encloses nothing.
        if !text.starts_with(')') && !text.starts_with('}') && !text.starts_with("where") {
            limit = indentation(line);
        }
    }
    lines[at..].iter().find_map(|line| function_name(line).or_else(|| type_name(line)))
}

/// Whether the function that line `at` declares is a test.
pub(crate) fn is_test(lines: &[&str], at: usize) -> bool {
    let above = lines[..at].iter().rev().map(|line| line.trim());
    above.take_while(|it| it.starts_with('#') || it.starts_with("//")).any(|it| it == "#[test]")
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::{code_lines, function_name, is_test, is_test_file, item_around};

    const SOURCE: &str = "\
impl Raft {
    fn first(&self) {
        if a {
            one();
        }
    }

    pub(crate) fn second(
        &self,
        many: Arguments,
    ) -> bool {
        match it {
            A => {
                // here
            }
        }
    }

    // between
    const fn third() {}
}

#[cfg(test)]
mod tests {
    #[test]
    fn fourth() {}
}
";

    #[test]
    fn names_functions() {
        assert_eq!(function_name("    pub(crate) const fn a_b1(&self)"), Some("a_b1"));
        assert_eq!(function_name("fn generic<T>(t: T)"), Some("generic"));
        assert_eq!(function_name("let fn_name = 1;"), None);
        assert_eq!(function_name("// fn old()"), None);
    }

    #[test]
    fn finds_the_function_around_a_line() {
        let lines: Vec<&str> = SOURCE.lines().collect();
        let at = |text: &str| lines.iter().position(|line| line.trim() == text).unwrap();
        assert_eq!(item_around(&lines, at("one();")), Some("first"));
        assert_eq!(item_around(&lines, at("// here")), Some("second"));
        assert_eq!(item_around(&lines, at("// between")), Some("third"));
    }

    #[test]
    fn tells_tests_from_code() {
        let lines: Vec<&str> = SOURCE.lines().collect();
        let fourth = lines.iter().position(|line| line.contains("fn fourth")).unwrap();
        let third = lines.iter().position(|line| line.contains("fn third")).unwrap();
        assert!(is_test(&lines, fourth) && !is_test(&lines, third));
        assert!(code_lines(SOURCE).iter().all(|line| !line.contains("fourth")));
        assert!(is_test_file("crates/raft/src/rpc/vote_test.rs"));
        assert!(is_test_file("crates/raft/src/testing.rs"));
        assert!(is_test_file("crates/raft/tests/stories.rs"));
        assert!(!is_test_file("crates/raft/src/rpc/request_vote.rs"));
    }
}
