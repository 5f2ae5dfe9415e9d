//! Finds the texts of a table that are nearest to a vector.

use crate::description::Description;
use crate::place::Place;
use crate::writer::{describe, push_vector};
use grice_core::{CorpusEmbedder, NearText, Nearest, Result, check_query};
use postgres::Client;
use serde::Deserialize;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

/// What a search may take.
const SEARCH_MAX: &str = "SET statement_timeout = '30s'";

/// A corpus in a table. One connection, on a thread of its own, answers one search after the other, and connects again where the server
/// closed it.
pub struct PostgresCorpus {
    place: Place,
    description: Description,
    searches: Sender<Search>,
}

struct Search {
    vector: String,
    count: i64,
    answer: SyncSender<Result<Vec<NearText>>>,
}

/// The field of a row that holds its text.
#[derive(Deserialize)]
struct TextOf {
    text: String,
}

impl PostgresCorpus {
    /// Connects, and reads what the table says of itself.
    ///
    /// # Errors
    /// [`grice_core::Error::CorpusServer`]: no connection, no such table, a table that is no corpus.
    pub fn open(url: &str) -> Result<PostgresCorpus> {
        let place = Place::parse(url)?;
        let (searches, inbox) = mpsc::channel();
        let (opened, fate) = mpsc::sync_channel(1);
        let own = place.clone();
        // The client must neither run nor end on a thread of an asynchronous runtime, so it has one of its own.
        let thread = std::thread::Builder::new().name("corpus".to_owned());
        let started = thread.spawn(move || serve(&own, &inbox, &opened));
        started.map_err(|error| place.refuse(format!("no thread for the connection: {error}")))?;
        let description = fate.recv().unwrap_or_else(|_| Err(place.refuse("the connection ended")))?;
        Ok(PostgresCorpus { place, description, searches })
    }

    /// How many texts.
    pub fn rows(&self) -> u64 {
        self.description.rows
    }

    /// Name of the corpus.
    pub fn name(&self) -> &str {
        &self.description.name
    }
}

impl Nearest for PostgresCorpus {
    fn place(&self) -> String {
        self.place.to_string()
    }

    fn embedder(&self) -> &CorpusEmbedder {
        &self.description.embedder
    }

    /// By the server, which looks at all vectors unless the table has an index for `vector_ip_ops`.
    fn nearest(&self, query: &[f32], count: usize, minimum: Option<f32>) -> Result<Vec<NearText>> {
        check_query(query, self.description.dims, minimum)?;
        let mut vector = String::new();
        push_vector(&mut vector, query);
        let (answer, found) = mpsc::sync_channel(1);
        let ended = || self.place.refuse("the connection's thread ended");
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.searches.send(Search { vector, count, answer }).map_err(|_| ended())?;
        let mut near = found.recv().unwrap_or_else(|_| Err(ended()))?;
        // Equal ones in the order of the corpus, as everywhere.
        near.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index)));
        near.retain(|near| minimum.is_none_or(|minimum| near.similarity >= minimum));
        Ok(near)
    }
}

/// Opens the table, and answers searches until the corpus is dropped.
fn serve(place: &Place, inbox: &Receiver<Search>, opened: &SyncSender<Result<Description>>) {
    let mut client = match open(place) {
        Ok((client, description)) => {
            _ = opened.send(Ok(description));
            client
        }
        Err(error) => {
            _ = opened.send(Err(error));
            return;
        }
    };
    while let Ok(Search { vector, count, answer }) = inbox.recv() {
        let mut found = search(place, &mut client, &vector, count);
        if found.is_err() && client.is_closed() {
            found = place.connect().and_then(|fresh| {
                client = fresh;
                search(place, &mut client, &vector, count)
            });
        }
        // The caller may have stopped waiting.
        _ = answer.send(found);
    }
}

fn open(place: &Place) -> Result<(Client, Description)> {
    let mut client = place.connect()?;
    let comment = describe(place, &mut client)?;
    let comment =
        comment.ok_or_else(|| place.refuse("there is no such table; make it with `grice index … --output`"))?;
    let description = Description::parse(comment.as_deref()).map_err(|cause| place.refuse(cause))?;
    Ok((client, description))
}

fn search(place: &Place, client: &mut Client, vector: &str, count: i64) -> Result<Vec<NearText>> {
    let failed = |error: postgres::Error| place.error(&error);
    client.batch_execute(SEARCH_MAX).map_err(failed)?;
    let ask = format!(
        "SELECT index, row, -(embedding <#> $1::text::vector) FROM {} ORDER BY embedding <#> $1::text::vector, index LIMIT $2",
        place.table()
    );
    let rows = client.query(ask.as_str(), &[&vector, &count]).map_err(failed)?;
    let near = rows.into_iter().map(|found| {
        let index: i64 = found.try_get(0).map_err(failed)?;
        let row: String = found.try_get(1).map_err(failed)?;
        let similarity: f64 = found.try_get(2).map_err(failed)?;
        let text: TextOf = serde_json::from_str(&row)
            .map_err(|error| place.refuse(format!("row {index} is no row of a corpus: {error}")))?;
        Ok(NearText { index: index.unsigned_abs(), text: text.text, row, similarity: similarity as f32 })
    });
    near.collect()
}
