//! A corpus in PostgreSQL with pgvector, for more texts than memory holds.
//!
//! ```text
//! PostgresWriter ─► table (index, row, embedding), its comment a manifest ─► PostgresCorpus: Nearest
//! ```
//!
//! A place is a connection URL that names the table: `postgres://user@host/database?table=replies`.

mod description;
mod place;
mod reader;
mod writer;

pub use place::{Place, is_place};
pub use reader::PostgresCorpus;
pub use writer::PostgresWriter;
