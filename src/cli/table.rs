//! Tables for a person at a terminal.

/// Prints rows under a heading, columns aligned; control characters of what a sender wrote are
/// shown as `?`, so that they cannot move the cursor.
#[must_use]
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut all: Vec<Vec<String>> = vec![heading.iter().map(|cell| (*cell).to_owned()).collect()];
    all.extend(rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()));
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            let cells = all.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    all.iter()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// What a sender wrote, without what would move the cursor or change the terminal.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_aligned_and_controls_are_shown() {
        let rows =
            [vec!["1".to_owned(), "a\u{1b}[2Jb".to_owned()], vec!["22".to_owned(), String::new()]];
        assert_eq!(table(&["id", "text"], &rows), ["id  text", "1   a?[2Jb", "22"]);
    }
}
