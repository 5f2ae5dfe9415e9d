//! Where a table is.

use grice_core::{Error, Result};
use postgres::{Client, Config, NoTls};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The table of a URL that names none.
const TABLE: &str = "grice_corpus";
/// The longest name that PostgreSQL does not cut.
const NAME_BYTES_MAX: usize = 63;
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A table of a database.
#[derive(Clone)]
pub struct Place {
    config: Config,
    table: String,
    /// Without the password.
    shown: String,
}

/// Whether a path is the URL of a database.
pub fn is_place(path: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| path.starts_with(scheme))
}

impl Place {
    /// Reads a URL: `postgres://user:password@host:port/database?table=name`, and libpq's other parameters.
    ///
    /// # Errors
    /// [`Error::CorpusServer`] for anything else, and for a table whose name has other characters than `a` to `z`, digits and `_`.
    pub fn parse(url: &str) -> Result<Place> {
        let shown = without_password(url);
        let (rest, table) = split_table(url);
        let refuse = |cause: String| Error::CorpusServer { place: shown.clone(), cause };
        let starts_well = table.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !(starts_well && table.chars().all(is_name) && table.len() <= NAME_BYTES_MAX) {
            let cause =
                "the table's name must be made of a to z, digits and `_`, at most 63 of them, and begin with no digit";
            return Err(refuse(format!("`{table}`: {cause}")));
        }
        let mut config = Config::from_str(&rest).map_err(|error| refuse(all_of(&error)))?;
        config.application_name("grice");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        Ok(Place { config, table, shown })
    }

    /// The table, fit to stand in a statement.
    pub(crate) fn table(&self) -> String {
        format!("\"{}\"", self.table)
    }

    /// Its name as a literal of SQL.
    pub(crate) fn table_text(&self) -> String {
        format!("'\"{}\"'", self.table)
    }

    pub(crate) fn connect(&self) -> Result<Client> {
        self.config.connect(NoTls).map_err(|error| self.error(&error))
    }

    /// What the server or the connection says.
    pub(crate) fn error(&self, error: &postgres::Error) -> Error {
        self.refuse(all_of(error))
    }

    pub(crate) fn refuse(&self, cause: impl Into<String>) -> Error {
        Error::CorpusServer { place: self.shown.clone(), cause: cause.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// The URL without its parameter `table`, and the table.
fn split_table(url: &str) -> (String, String) {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let (named, others): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with("table="));
    let table = named.last().map_or(TABLE, |part| &part["table=".len()..]);
    let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    (format!("{path}{query}"), table.to_owned())
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
        None => path.to_owned(),
    };
    let is_secret = |part: &&str| !part.starts_with("password=");
    let query: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).filter(is_secret).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("{scheme}://{path}{query}")
}

/// An error with its causes; by itself it says only that there was one.
fn all_of(error: &postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        let hint = told.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        return format!("{}{hint}", told.message());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let told = next.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_a_parameter_and_passwords_are_not_shown() {
        let place = Place::parse("postgres://me:secret@db.test:5433/texts?connect_timeout=3&table=replies_2").unwrap();
        assert_eq!(place.table(), "\"replies_2\"");
        assert_eq!(place.to_string(), "postgres://me@db.test:5433/texts?connect_timeout=3&table=replies_2");
        assert_eq!(place.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        let place = Place::parse("postgresql:///texts?host=/run/postgres&password=secret&user=me").unwrap();
        assert_eq!(
            (place.table(), place.to_string()),
            ("\"grice_corpus\"".to_owned(), "postgresql:///texts?host=/run/postgres&user=me".to_owned())
        );
        assert!(is_place("postgres://a") && !is_place("models/postgres"));
    }

    #[test]
    fn what_is_no_place_is_refused_without_its_password() {
        for table in ["", "Replies", "a-b", "a\"b", "1a", "a;drop table b", &"a".repeat(64)] {
            let error = Place::parse(&format!("postgres://me:secret@host/db?table={table}")).unwrap_err().to_string();
            assert!(error.contains("the table's name") && !error.contains("secret"), "{error}");
        }
        let error = Place::parse("postgres://me:secret@host:port/db").unwrap_err().to_string();
        assert!(error.starts_with("postgres://me@host:port/db: ") && !error.contains("secret"), "{error}");
        assert!(Place::parse("postgres://host/db?colour=red").unwrap_err().to_string().contains("colour"));
    }
}
