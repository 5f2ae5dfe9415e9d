//! `index`: a file of texts becomes a corpus.

use crate::args::{Common, Index};
use crate::corpus::url_of;
use crate::error::{CliError, Result};
use crate::model::quietly;
use crate::output::is_stdio;
use crate::progress::Progress;
use crate::rows::{Fields, Parsed, RowError, RowReader, head_without, text_of};
use crate::texts::{note, note_of_cut, open, prompt_of};
use crate::unfinished::Unfinished;
use grice_core::{CorpusWriter, Embedder, Error, NewCorpus};
#[cfg(feature = "postgres")]
use grice_postgres::{Place, PostgresWriter};
use std::fs;
use std::path::Path;

/// The name of a text in the corpus.
const TEXT: &str = "text";

/// Writes the corpus of a file.
///
/// # Errors
/// Errors of the model and the files; [`CliError::BadSample`] for a row that cannot be read. Then nothing is written.
pub(crate) fn run(args: &Index, common: &Common) -> Result<()> {
    let table = url_of(&args.output);
    if table.is_none() {
        check_free(&args.output, args.overwrite)?;
    }
    let reader = RowReader::open_with(&args.input, args.format, args.delimiter, &args.field)?;
    let mut embedder = open(common)?;
    let new = describe(args, &embedder, common);
    embedder.set_prompt(&new.prompt)?;
    let writer = match table {
        Some(url) => Target::in_table(url, &embedder, new, args.overwrite)?,
        None => {
            let unfinished = Unfinished::create(&args.output)?;
            Target::Folder(CorpusWriter::create(unfinished.path(), &embedder, new)?, unfinished)
        }
    };
    let progress = Progress::new(reader.bytes_total(), common.quiet);
    let mut run = Run { reader, embedder, writer, progress, field: &args.field, empty: 0, cut: 0, dropped: false };
    while run.batch(args.batch_size.get())? {}
    let Run { reader, embedder, writer, progress, empty, cut, dropped, .. } = run;
    drop(progress);
    if writer.rows() == 0 {
        return Err(CliError::NoTexts(reader.place().to_owned()));
    }
    let (rows, place) = (writer.rows(), writer.place(&args.output));
    writer.finish()?;
    if dropped {
        note(common, &format!("the input's field `{TEXT}` is left out, because the text has this name in a corpus"));
    }
    if let Some(text) = note_of_cut(cut, embedder.tokens_max()) {
        note(common, &text);
    }
    let left = if empty == 0 { String::new() } else { format!("; {empty} without visible text left out") };
    note(common, &format!("{place}: {rows} texts{left}"));
    Ok(())
}

fn describe(args: &Index, embedder: &Embedder, common: &Common) -> NewCorpus {
    let of_folder = || match url_of(&args.output) {
        Some(_) => "corpus".to_owned(),
        None => args.output.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
    };
    NewCorpus {
        name: args.name.clone().unwrap_or_else(of_folder),
        version: args.corpus_version.clone(),
        licence: args.licence.clone(),
        prompt: prompt_of(args.prompt.as_deref(), embedder, common),
        query_prompt: prompt_of(args.query_prompt.as_deref(), embedder, common),
    }
}

/// Checks that the folder is new, empty, or a corpus that may be replaced.
fn check_free(output: &Path, overwrite: bool) -> Result<()> {
    let place = output.display().to_string();
    if is_stdio(output) {
        return Err(CliError::TargetKind { place, expected: "a folder, because a corpus is one" });
    }
    let Ok(metadata) = fs::metadata(output) else { return Ok(()) };
    if !metadata.is_dir() {
        return Err(CliError::TargetKind { place, expected: "a folder, because a corpus is one" });
    }
    if fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    let is_corpus = ["texts.jsonl", "vectors.safetensors"].iter().all(|name| output.join(name).is_file());
    match (overwrite, is_corpus) {
        (false, _) => Err(CliError::TargetExists(place)),
        (true, true) => Ok(()),
        (true, false) => {
            Err(CliError::TargetKind { place, expected: "a new folder or a corpus: this one has no texts.jsonl" })
        }
    }
}

/// Where a corpus is written.
enum Target {
    Folder(CorpusWriter, Unfinished),
    #[cfg(feature = "postgres")]
    Table(Box<PostgresWriter>, Place),
}

impl Target {
    #[cfg(feature = "postgres")]
    fn in_table(url: &str, embedder: &Embedder, new: NewCorpus, overwrite: bool) -> Result<Target> {
        let place = Place::parse(url)?;
        let writer = PostgresWriter::create(place.clone(), embedder, new, overwrite)?;
        Ok(Target::Table(Box::new(writer), place))
    }

    #[cfg(not(feature = "postgres"))]
    fn in_table(_: &str, _: &Embedder, _: NewCorpus, _: bool) -> Result<Target> {
        let expected = "a folder: this build cannot write to a database; build it with the feature `postgres`";
        Err(CliError::TargetKind { place: "PostgreSQL".to_owned(), expected })
    }

    fn push(&mut self, text: &str, fields: &str, vector: &[f32]) -> grice_core::Result<()> {
        match self {
            Target::Folder(writer, _) => writer.push(text, fields, vector),
            #[cfg(feature = "postgres")]
            Target::Table(writer, _) => writer.push(text, fields, vector),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Target::Folder(writer, _) => writer.rows(),
            #[cfg(feature = "postgres")]
            Target::Table(writer, _) => writer.rows(),
        }
    }

    /// For messages, without a password.
    fn place(&self, output: &Path) -> String {
        match self {
            Target::Folder(..) => output.display().to_string(),
            #[cfg(feature = "postgres")]
            Target::Table(_, place) => place.to_string(),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Target::Folder(writer, unfinished) => {
                writer.finish()?;
                unfinished.finish()?;
            }
            #[cfg(feature = "postgres")]
            Target::Table(writer, _) => writer.finish()?,
        }
        Ok(())
    }
}

/// One run over a file.
struct Run<'a> {
    reader: RowReader,
    embedder: Embedder,
    writer: Target,
    progress: Progress,
    field: &'a str,
    /// Rows without visible text.
    empty: usize,
    /// Texts that were longer than the model reads.
    cut: usize,
    /// Whether a field `text` that is not the text was left out.
    dropped: bool,
}

impl Run<'_> {
    /// Reads, embeds and writes some rows; `false` after the last ones.
    fn batch(&mut self, size: usize) -> Result<bool> {
        let mut rows: Vec<(u64, Fields)> = Vec::new();
        let mut texts = Vec::new();
        let is_more = loop {
            let Some(raw) = self.reader.next()? else { break false };
            let Parsed { line, fields, value } = self.reader.parse_with(raw, |fields| text_of(fields, self.field));
            texts.push(value.map_err(|cause| self.bad(line, cause))?);
            rows.push((line, fields));
            if rows.len() == size {
                break true;
            }
        };
        let vectors = quietly(|| self.embedder.embed_batch(&texts))??;
        let count = rows.len();
        for (((line, fields), text), vector) in rows.into_iter().zip(&texts).zip(vectors) {
            match vector {
                Ok(vector) => {
                    self.cut += usize::from(vector.truncated);
                    let others = self.others(&fields);
                    self.writer.push(text, &others, &vector.values)?;
                }
                Err(Error::EmptyField { .. } | Error::NoTokens { .. }) => self.empty += 1,
                Err(error) => return Err(self.bad(line, RowError::Turn(error))),
            }
        }
        self.progress.advance(count, self.reader.bytes_read());
        Ok(is_more)
    }

    /// The other fields of a row, as JSON without braces.
    fn others(&mut self, fields: &Fields) -> String {
        self.dropped |= self.field != TEXT && fields.json(TEXT).is_some();
        let head = head_without(fields, |name| name == self.field || name == TEXT);
        head[1..].trim_end_matches(',').to_owned()
    }

    fn bad(&self, line: u64, cause: RowError) -> CliError {
        CliError::BadSample { place: self.reader.place().to_owned(), line, cause }
    }
}
