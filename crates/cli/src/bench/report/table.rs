//! Tables, and text that is safe in HTML.

/// Text as it must stand in HTML and in its attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table that scrolls by itself if it is wider than the page.
pub(super) struct Table<'t> {
    pub(super) caption: &'t str,
    pub(super) columns: Vec<String>,
    /// The first cell of a row is its heading.
    pub(super) rows: Vec<Row>,
}

/// A row, and the class of its last cell.
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) class: &'static str,
}

impl Row {
    pub(super) fn plain(cells: Vec<String>) -> Row {
        Row { cells, class: "" }
    }
}

impl Table<'_> {
    pub(super) fn html(&self) -> String {
        let caption = escape(self.caption);
        let head: String = self.columns.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
        let body: String = self.rows.iter().map(Table::row).collect();
        format!(
            "<div class=\"table\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table><caption>{caption}</caption>\n\
             <thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
        )
    }

    fn row(row: &Row) -> String {
        let last = row.cells.len().saturating_sub(1);
        let cell = |(place, cell): (usize, &String)| match place {
            0 => format!("<th scope=\"row\">{}</th>", escape(cell)),
            _ if place == last && !row.class.is_empty() => {
                format!("<td class=\"{}\">{}</td>", row.class, escape(cell))
            }
            _ => format!("<td>{}</td>", escape(cell)),
        };
        let cells: String = row.cells.iter().enumerate().map(cell).collect();
        format!("<tr>{cells}</tr>\n")
    }
}
