//! Tables in Markdown: the first column is text, the others are figures.

/// A table under construction.
#[derive(Debug)]
pub struct Table {
    lines: Vec<String>,
}

impl Table {
    #[must_use]
    pub fn new<S: AsRef<str>>(head: &[S]) -> Self {
        let figures = "---:|".repeat(head.len() - 1);
        Self {
            lines: vec![line(head), format!("|---|{figures}")],
        }
    }

    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        self.lines.push(line(cells));
    }

    pub fn print(&self) {
        println!("{}", self.lines.join("\n"));
    }
}

fn line<S: AsRef<str>>(cells: &[S]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |", cells.join(" | "))
}
