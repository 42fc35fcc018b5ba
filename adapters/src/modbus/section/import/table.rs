//! A table as spreadsheets write it: separated by commas, semicolons or tabs, with a line of names first.

use super::ImportError;

/// What a row says; cells with nothing in them are left out.
#[derive(Debug)]
pub(super) struct Row {
    /// As a spreadsheet and an editor count: the line of names is mostly 1.
    pub(super) number: u64,
    /// Column and text.
    pub(super) cells: Vec<(String, String)>,
}

impl Row {
    pub(super) fn cell(&self, column: &str) -> Option<&str> {
        let mut cells = self.cells.iter();
        let (_, text) = cells.find(|(name, _)| name == column)?;
        Some(text)
    }

    pub(super) fn wrong(&self, column: &str, message: String) -> ImportError {
        ImportError::Cell {
            row: self.number,
            column: column.to_owned(),
            message,
        }
    }
}

/// The names of the columns and the rows that are not empty. Lines that begin with `#` are remarks.
pub(super) fn read(text: &str) -> Result<(Vec<String>, Vec<Row>), ImportError> {
    // Spreadsheets mark UTF-8 so.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator(text))
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .flexible(true)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let names = records.next().transpose()?.unwrap_or_default();
    let names: Vec<String> = names.iter().map(key).collect();
    let mut rows = Vec::new();
    for record in records {
        let record = record?;
        let number = record.position().map_or(0, |place| line(text, place));
        if record.iter().all(str::is_empty) {
            continue;
        }
        if record.len() != names.len() {
            return Err(ImportError::Row {
                row: number,
                message: format!(
                    "it has {} cells, and the first line names {} columns; a text with the separator in it goes in \"quotes\"",
                    record.len(),
                    names.len()
                ),
            });
        }
        let cells = names.iter().zip(&record);
        let cells = cells.filter(|(_, text)| !text.is_empty());
        rows.push(Row {
            number,
            cells: cells
                .map(|(name, text)| (name.clone(), text.to_owned()))
                .collect(),
        });
    }
    Ok((names, rows))
}

/// The line on which the record at `place` begins: what the reader skips for it is still before that.
fn line(text: &str, place: &csv::Position) -> u64 {
    let rest = usize::try_from(place.byte()).ok();
    let rest = rest.and_then(|byte| text.get(byte..)).unwrap_or_default();
    let is_skipped = |line: &&str| line.is_empty() || line.starts_with('#');
    (place.line()..)
        .zip(rest.lines().take_while(is_skipped).chain(["record"]))
        .last()
        .map_or(0, |(line, _)| line)
}

/// `Deadband Percent` is `deadband_percent`.
fn key(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    words.join("_").to_lowercase()
}

/// Whichever of the separators is most in the first line, which has names alone.
fn separator(text: &str) -> u8 {
    let is_names = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let names = text.lines().find(is_names).unwrap_or_default();
    let separators = [b'\t', b';', b','];
    let most = separators
        .into_iter()
        .max_by_key(|separator| names.bytes().filter(|byte| byte == separator).count());
    most.unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_spreadsheets_write_them() {
        for text in [
            "name,address\na,1\n",
            "\u{FEFF}Name , ADDRESS\r\na , 1\r\n",
            "name;address\n\"a\";1\n;\n",
            "NAME\tAddress\na\t1\n\t\n",
            "# made, by, hand\n\nname,address\na,1",
        ] {
            let (names, rows) = read(text).unwrap();
            assert_eq!(names, ["name", "address"], "{text}");
            let [row] = rows.as_slice() else {
                panic!("one row: {rows:?}");
            };
            assert_eq!(
                (row.cell("name"), row.cell("address")),
                (Some("a"), Some("1"))
            );
        }
    }

    #[test]
    fn rows_are_counted_as_an_editor_counts_lines() {
        let text = "# remark\nname,Rate  Per\n\na,1\n# remark\n\nb,\nc,1\n";
        for text in [text, &text.replace('\n', "\r\n")] {
            let (names, rows) = read(text).unwrap();
            assert_eq!(names, ["name", "rate_per"]);
            let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
            assert_eq!(numbers, [4, 7, 8], "{text:?}");
            assert_eq!(rows[1].cell("rate_per"), None);
        }
    }

    #[test]
    fn a_row_of_another_length_is_refused() {
        for text in ["a,b\n1,2\n3,4,5\n", "a,b\n1,2\n3\n"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("row 3: it has "), "{error}");
        }
    }
}
