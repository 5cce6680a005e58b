//! What commands print: tables for people, JSON for programs.

use crate::failure::{Failure, output_failed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use std::io::Write as _;

/// Writes to stdout at once, so that a pipe sees each line when it happens.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// As [`print()`], for bytes that may be anything.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| output_failed(&error))
}

/// One line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Failure::new(format!("cannot write the output as JSON: {error}")))?;
    line.push(b'\n');
    print_bytes(&line)
}

/// A column is not made wider for the sake of longer cells, which take what
/// they need.
const COLUMN_WIDTH_MAX: usize = 60;

/// Columns padded to their widest cell, two spaces apart.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// A table that needs no headings.
    pub(crate) fn without_headings() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row of as many cells.
    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.into());
    }

    /// The table as lines, each after `indent`.
    pub(crate) fn render(&self, indent: &str) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let length = |cell: &String| cell.chars().count();
        let width = |column: usize| {
            let lengths = self.rows.iter().filter_map(|row| row.get(column)).map(length);
            lengths.filter(|length| *length <= COLUMN_WIDTH_MAX).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width.saturating_sub(length(cell)) + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Bytes as a person can read them: text as it is, anything else escaped.
pub(crate) fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Adds `name` to a JSON object: as text where `bytes` are that, otherwise
/// `name_base64`.
pub(crate) fn insert_bytes(object: &mut serde_json::Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), Value::from(text)),
        Err(_) => object.insert(format!("{name}_base64"), Value::from(STANDARD.encode(bytes))),
    };
}

/// A size as a person reads it.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{Table, human_bytes, insert_bytes, readable};

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let mut table = Table::new(["KEY", "VALUE"]);
        table.row(["a".to_owned(), "1".to_owned()]);
        table.row(["longer".to_owned(), String::new()]);
        assert_eq!(table.render("  "), "  KEY     VALUE\n  a       1\n  longer\n");
    }

    #[test]
    fn a_giant_does_not_make_its_column_wide() {
        let mut table = Table::new(["VALUE", "VERSION"]);
        table.row(["x".repeat(100_000), "1".to_owned()]);
        table.row(["y".to_owned(), "2".to_owned()]);
        let giant = "x".repeat(100_000);
        assert_eq!(table.render(""), format!("VALUE  VERSION\n{giant}  1\ny      2\n"));
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(readable("grüß".as_bytes()), "grüß");
        assert_eq!(readable(b"a\nb"), "a\\nb");
        assert_eq!(readable(&[0xff, b'a']), "\\xffa");
        let mut object = serde_json::Map::new();
        insert_bytes(&mut object, "key", b"k");
        insert_bytes(&mut object, "value", &[0xff]);
        assert_eq!(
            serde_json::Value::from(object),
            serde_json::json!({ "key": "k", "value_base64": "/w==" })
        );
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(5 << 40), "5.0 TiB");
        assert_eq!(human_bytes(u64::MAX), "16777216.0 TiB");
    }
}
