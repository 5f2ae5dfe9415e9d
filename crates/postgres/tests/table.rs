//! A corpus in a real PostgreSQL with pgvector, against the same one in a folder. The server is the one of the Python package `pgserver`, or the
//! one whose URL is in `GRICE_TEST_POSTGRES`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_core::{Corpus, CorpusWriter, Embedder, Error, Nearest, NewCorpus, Options};
use grice_postgres::{Place, PostgresCorpus, PostgresWriter};
use grice_testkit::fixtures::fixtures_folder;
use grice_testkit::python::python_with;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Starts a server in a folder, prints its URL, and stops it at the end of its input.
const SCRIPT: &str = "
import pgserver, sys
server = pgserver.get_server(sys.argv[1])
print(server.get_uri(), flush=True)
sys.stdin.read()
server.cleanup()
";

/// A server of our own, or somebody's.
struct Server {
    url: String,
    process: Option<Child>,
    /// Its data.
    _folder: tempfile::TempDir,
}

impl Server {
    /// None where there is no server; then the test says so.
    fn start() -> Option<Server> {
        let folder = tempfile::tempdir().unwrap();
        if let Ok(url) = std::env::var("GRICE_TEST_POSTGRES") {
            return Some(Server { url, process: None, _folder: folder });
        }
        let Some(python) = python_with(env!("CARGO_TARGET_TMPDIR"), "import pgserver") else {
            return skip("no PostgreSQL with pgvector (pip install pgserver)");
        };
        // One at a time: as root the package makes a user for the server.
        static STARTING: Mutex<()> = Mutex::new(());
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new(python);
        command.args(["-c", SCRIPT]).arg(folder.path().join("data"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        if !url.starts_with("postgres") {
            _ = process.wait();
            return skip("PostgreSQL does not start on this machine; its reasons are above");
        }
        Some(Server { url: url.trim().to_owned(), process: Some(process), _folder: folder })
    }

    fn table(&self, name: &str) -> String {
        let sign = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{sign}table={name}", self.url)
    }

    fn run(&self, statement: &str) {
        let mut client = postgres::Client::connect(&self.url, postgres::NoTls).unwrap();
        client.batch_execute(statement).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            _ = process.wait();
        }
    }
}

/// Past the test runner, which keeps what passing tests print to itself.
fn skip(why: &str) -> Option<Server> {
    _ = writeln!(std::io::stderr(), "skipped: {why}");
    None
}

fn embedder() -> Embedder {
    Embedder::open(&fixtures_folder().join("embedders/bert"), &Options::default()).unwrap()
}

/// Texts with characters that COPY and SQL treat in their own ways.
fn texts() -> Vec<(String, String)> {
    let plain = (20..60).map(|word| (format!("w{word} w{}", word + 1), format!("\"id\":{word}")));
    let odd = [
        "w20\tw21\nw22\rw23",
        "w30 \\ \\n \\. w31",
        "w40 'quoted' \"twice\" w41",
        "w50 {\"a\":1} \u{1F600} w51",
        "w20 w21",
    ];
    plain.chain(odd.map(|text| (text.to_owned(), String::new()))).collect()
}

fn described() -> NewCorpus {
    NewCorpus {
        name: "it's \\ \"words\"".to_owned(),
        licence: "CC-BY-4.0".to_owned(),
        query_prompt: "w7 ".to_owned(),
        ..NewCorpus::default()
    }
}

fn write(url: &str, overwrite: bool) -> grice_core::Result<()> {
    let mut embedder = embedder();
    let mut writer = PostgresWriter::create(Place::parse(url)?, &embedder, described(), overwrite)?;
    for (text, fields) in texts() {
        writer.push(&text, &fields, &embedder.embed(&text)?.values)?;
    }
    assert_eq!(writer.rows(), texts().len());
    writer.finish()
}

#[test]
fn a_table_finds_what_a_folder_finds() {
    let Some(server) = Server::start() else { return };
    let url = server.table("words");
    write(&url, false).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut embedder = embedder();
    let mut writer = CorpusWriter::create(folder.path(), &embedder, described()).unwrap();
    let vectors: Vec<Vec<f32>> = texts().iter().map(|(text, _)| embedder.embed(text).unwrap().values).collect();
    for ((text, fields), vector) in texts().iter().zip(&vectors) {
        writer.push(text, fields, vector).unwrap();
    }
    writer.finish().unwrap();

    let (table, corpus) = (PostgresCorpus::open(&url).unwrap(), Corpus::open(folder.path(), 1).unwrap());
    assert_eq!((table.rows() as usize, table.name()), (texts().len(), described().name.as_str()));
    assert_eq!(table.embedder(), Nearest::embedder(&corpus));
    table.prepare(&mut embedder).unwrap();
    for (index, _) in texts().iter().enumerate() {
        let query = &vectors[index];
        let near = table.nearest(query, texts().len(), None).unwrap();
        // Every text is found once, with its row as it is in a folder.
        let mut found: Vec<u64> = near.iter().map(|near| near.index).collect();
        found.sort_unstable();
        assert!(found.iter().copied().eq(0..texts().len() as u64));
        for near in &near {
            let row = near.index as usize;
            assert_eq!((Some(near.row.as_str()), &near.text), (corpus.row(row), &texts()[row].0));
            // The oracle: a sum of products in double precision.
            let exact: f64 = query.iter().zip(&vectors[row]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!(
                (f64::from(near.similarity) - exact).abs() < 1e-5,
                "{index} {row}: {} and {exact}",
                near.similarity
            );
        }
        assert!(near.is_sorted_by(|a, b| (a.similarity, b.index) >= (b.similarity, a.index)), "{near:?}");
        // The folder's vectors have 8 bits, so its order may differ between nearly equal ones.
        let best = &Nearest::nearest(&corpus, query, 1, None).unwrap()[0];
        assert!((near[0].similarity - best.similarity).abs() < 0.02, "{near:?} {best:?}");
        let bound = near[3].similarity;
        let few = table.nearest(query, 5, Some(bound)).unwrap();
        assert!((4..=5).contains(&few.len()) && few.iter().all(|near| near.similarity >= bound));
    }
    // Equal texts come in the order of the corpus.
    let twice = table.nearest(&vectors[0], 2, None).unwrap();
    let all = table.nearest(&vectors[0], texts().len(), None).unwrap();
    let of = |index: usize| all.iter().find(|near| near.index == index as u64).unwrap().similarity;
    assert_eq!((twice[0].index, of(0)), (0, of(texts().len() - 1)));
    // A connection that the server closed is opened again.
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'grice'");
    assert_eq!(table.nearest(&vectors[0], 2, None).unwrap(), twice);
    let other = Embedder::open(&fixtures_folder().join("embedders/mpnet"), &Options::default());
    let error = table.prepare(&mut other.unwrap()).unwrap_err();
    assert!(matches!(error, Error::OtherEmbedder { .. }), "{error}");
    assert!(matches!(table.nearest(&vectors[0][1..], 2, None), Err(Error::VectorLength { .. })));
    assert!(matches!(table.nearest(&vectors[0], 2, Some(f32::NAN)), Err(Error::MinimumSimilarity(_))));
}

#[test]
fn nothing_half_written_is_seen_and_nothing_else_is_replaced() {
    let Some(server) = Server::start() else { return };
    let url = server.table("texts");
    let refused = |result: grice_core::Result<()>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("postgres") && error.contains(words), "{error}");
    };
    let opened = |url: &str| PostgresCorpus::open(url).map(|_| ());
    refused(opened(&url), "there is no such table");
    let mut made = embedder();
    let mut writer = PostgresWriter::create(Place::parse(&url).unwrap(), &made, described(), false).unwrap();
    let vector = made.embed("w20").unwrap().values;
    writer.push("w20", "", &vector).unwrap();
    assert!(matches!(writer.push(" ", "", &vector), Err(Error::EmptyField { .. })));
    assert!(matches!(writer.push("w20", "", &vector[1..]), Err(Error::VectorLength { .. })));
    assert!(matches!(writer.push("w20", "", &vec![f32::NAN; vector.len()]), Err(Error::VectorNotFinite)));
    refused(opened(&url), "there is no such table");
    drop(writer);
    refused(opened(&url), "there is no such table");
    let empty = PostgresWriter::create(Place::parse(&url).unwrap(), &made, described(), false).unwrap();
    refused(empty.finish(), "there is no text to find");

    write(&url, false).unwrap();
    refused(write(&url, false), "exists already");
    write(&url, true).unwrap();
    opened(&url).unwrap();
    server.run("CREATE TABLE mine (a int); CREATE TABLE noted (a int); COMMENT ON TABLE noted IS 'my notes'");
    for (name, words) in [("mine", "it has no comment"), ("noted", "its comment is not a corpus's")] {
        refused(opened(&server.table(name)), words);
        refused(write(&server.table(name), true), words);
        server.run(&format!("SELECT a FROM {name}"));
    }
    server.run("COMMENT ON TABLE texts IS '{\"format\":9,\"task\":\"corpus\",\"name\":\"a\",\"rows\":1,\"dims\":1,\"embedder\":{\"name\":\"a\",\"digest\":\"b\"}}'");
    refused(opened(&url), "the table has format 9; supported is 1");
    refused(opened("postgres://nobody@127.0.0.1:1/none"), "refused");
}
