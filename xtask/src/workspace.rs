//! The workspace as files: where it is, its packages, its sources.

use crate::Failure;
use std::fs;
use std::path::{Path, PathBuf};

/// The checkout that this program was built from.
pub(crate) struct Workspace {
    root: PathBuf,
}

/// One package of the workspace, as far as its manifest tells.
pub(crate) struct Package {
    /// `driftless-raft`.
    pub(crate) name: String,
    /// `crates/raft`, relative to the root.
    pub(crate) folder: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest: toml::Table,
}

impl Workspace {
    /// The workspace that holds this xtask.
    pub(crate) fn here() -> Result<Self, Failure> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.parent().ok_or("xtask has no folder above it")?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// The absolute path of `relative`.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The text of a file, named in the error if it cannot be read.
    pub(crate) fn read(&self, relative: &str) -> Result<String, Failure> {
        fs::read_to_string(self.path(relative))
            .map_err(|error| format!("{relative} cannot be read: {error}").into())
    }

    /// Writes a file, making its folder.
    pub(crate) fn write(&self, relative: &str, text: &str) -> Result<(), Failure> {
        let path = self.path(relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)
            .map_err(|error| format!("{relative} cannot be written: {error}").into())
    }

    /// Whether there is such a file or folder.
    pub(crate) fn exists(&self, relative: &str) -> bool {
        self.path(relative).exists()
    }

    /// A manifest, parsed.
    pub(crate) fn manifest(&self, relative: &str) -> Result<toml::Table, Failure> {
        self.read(relative)?
            .parse()
            .map_err(|error| format!("{relative} is not valid TOML: {error}").into())
    }

    /// The packages under `crates/` and `examples/`, and this one, by folder.
    pub(crate) fn packages(&self) -> Result<Vec<Package>, Failure> {
        let mut folders = vec!["xtask".to_owned()];
        for home in ["crates", "examples"] {
            for entry in self.entries(home)? {
                if self.exists(&format!("{entry}/Cargo.toml")) {
                    folders.push(entry);
                }
            }
        }
        folders.sort();
        let package = |folder: String| {
            let manifest = self.manifest(&format!("{folder}/Cargo.toml"))?;
            let name = manifest
                .get("package")
                .and_then(|package| package.get("name"))
                .and_then(toml::Value::as_str)
                .ok_or_else(|| format!("{folder}/Cargo.toml names no package"))?
                .to_owned();
            Ok(Package { name, folder, manifest })
        };
        folders.into_iter().map(package).collect()
    }

    /// Every file below `folder` with this extension, sorted, relative to the
    /// root; build output, data directories and hidden folders are passed over.
    pub(crate) fn files(&self, folder: &str, extension: &str) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        let mut waiting = vec![folder.to_owned()];
        while let Some(folder) = waiting.pop() {
            for entry in self.entries(&folder)? {
                let path = self.path(&entry);
                let name = entry.rsplit('/').next().unwrap_or(&entry);
                if path.is_dir() {
                    if !name.starts_with('.') && name != "target" && name != "driftless-data" {
                        waiting.push(entry);
                    }
                } else if path.extension().is_some_and(|it| it == extension) {
                    found.push(entry);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// What a folder holds, relative to the root; nothing if it is not there.
    fn entries(&self, folder: &str) -> Result<Vec<String>, Failure> {
        let path = self.path(folder);
        if !path.is_dir() {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            entries.push(if folder.is_empty() { name } else { format!("{folder}/{name}") });
        }
        entries.sort();
        Ok(entries)
    }
}

/// Puts `body` between the lines `<!-- begin:NAME -->` and `<!-- end:NAME -->`;
/// `None` if `text` has no such pair.
pub(crate) fn replace_between(text: &str, name: &str, body: &str) -> Option<String> {
    let begin = format!("<!-- begin:{name} -->\n");
    let end = format!("<!-- end:{name} -->");
    let from = text.find(&begin)? + begin.len();
    let until = from + text[from..].find(&end)?;
    Some(format!("{}{}{}", &text[..from], body, &text[until..]))
}

#[cfg(test)]
mod tests {
    use super::replace_between;

    #[test]
    fn replaces_only_what_stands_between_the_markers() {
        let text = "a\n<!-- begin:x -->\nold\n<!-- end:x -->\nb\n";
        let new = replace_between(text, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- begin:x -->\nnew\n<!-- end:x -->\nb\n");
        assert_eq!(replace_between(text, "y", "new\n"), None);
    }
}
