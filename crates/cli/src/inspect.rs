//! `inspect`: describes the parts of a model.

use crate::args::{Common, Inspect};
use crate::error::{CliError, Result};
use crate::model::{load_detector, open_bundle, quietly};
use crate::output::write_stdout;
use crate::terminal::Terminal;
use crate::workers::Workers;
use grice_core::{Bundle, Error, Maxim, PerMaxim, Precision, Task};
use serde::Serialize;
use std::fmt::Write;

/// The description of a model, as `--json` prints it.
#[derive(Serialize)]
struct Description {
    name: String,
    version: String,
    task: Task,
    family: &'static str,
    max_tokens: usize,
    template: String,
    labels: Vec<Maxim>,
    temperatures: PerMaxim<f32>,
    thresholds: PerMaxim<f32>,
    files: Vec<ModelFile>,
    graph: Graph,
    runs_on: RunsOn,
}

#[derive(Serialize)]
struct ModelFile {
    precision: Precision,
    path: String,
    /// `None` if a file of the manifest does not exist.
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct Graph {
    precision: Precision,
    inputs: Vec<&'static str>,
    /// `None` if the embedding of the graph is unknown.
    vocabulary_rows: Option<usize>,
    constant_bytes: usize,
    fused: bool,
    /// Why the graph did not fuse.
    unfused_because: Option<String>,
    /// The longest sequence, in tokens, for which the fused program is proved to equal the graph.
    compared_up_to: Option<usize>,
    nodes: usize,
    operators: Vec<Operator>,
}

#[derive(Serialize)]
struct Operator {
    operator: String,
    nodes: usize,
}

#[derive(Serialize)]
struct RunsOn {
    device: &'static str,
    engine: &'static str,
    #[serde(flatten)]
    workers: Workers,
    /// The compiled engine that it was loaded from, if any.
    compiled: Option<String>,
}

/// Describes the model.
///
/// # Errors
/// Errors of the bundle.
pub(crate) fn run(args: &Inspect, common: &Common) -> Result<()> {
    if args.prove {
        crate::prove::prove(common)?;
    }
    let bundle = open_bundle(common)?;
    let description = describe(&bundle, common)?;
    let text = if args.json {
        serde_json::to_string_pretty(&description).unwrap_or_default() + "\n"
    } else {
        show_description(&description, Terminal::of_stdout(common.color))
    };
    write_stdout(text.as_bytes())
}

fn describe(bundle: &Bundle, common: &Common) -> Result<Description> {
    let manifest = bundle.manifest();
    // Loading checks that graph, tokenizer and manifest fit together; otherwise the description would mislead.
    let detector = load_detector(bundle, common, &[])?;
    let info = detector.engine_info();
    let workers = Workers::new(info.threads, detector.adapter());
    let compiled = detector.compiled().map(|path| path.display().to_string());
    drop(detector);
    Ok(Description {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        task: manifest.task,
        family: manifest.family.name(),
        max_tokens: manifest.max_tokens,
        template: manifest.template.clone(),
        labels: manifest.labels.clone(),
        temperatures: manifest.temperatures,
        thresholds: manifest.thresholds,
        files: list_files(bundle)?,
        graph: describe_graph(bundle, info.precision)?,
        runs_on: RunsOn { device: info.device, engine: info.kernels, workers, compiled },
    })
}

fn list_files(bundle: &Bundle) -> Result<Vec<ModelFile>> {
    let list = |(&precision, path): (&Precision, &String)| match bundle.model(precision) {
        Ok(_) => Ok(ModelFile { precision, path: path.clone(), bytes: bundle.model_bytes(precision)? }),
        // A bundle may lack files of its manifest; but a damaged file is an error.
        Err(Error::BundleFile { .. }) => Ok(ModelFile { precision, path: path.clone(), bytes: None }),
        Err(error) => Err(CliError::Core(error)),
    };
    bundle.manifest().models.iter().map(list).collect()
}

fn describe_graph(bundle: &Bundle, precision: Precision) -> Result<Graph> {
    let network = quietly(|| bundle.network(precision))?.map_err(CliError::Core)?;
    let third = network.takes_token_types().then_some("token_type_ids");
    let operators: Vec<Operator> = network
        .summary()
        .into_iter()
        .map(|summary| Operator { operator: summary.op.to_string(), nodes: summary.nodes })
        .collect();
    Ok(Graph {
        precision,
        inputs: ["input_ids", "attention_mask"].into_iter().chain(third).collect(),
        vocabulary_rows: network.embedding_rows(),
        constant_bytes: network.constant_bytes(),
        fused: network.program().is_ok(),
        unfused_because: network.program().err().map(|unfused| unfused.reason.clone()),
        compared_up_to: network.compared_up_to(),
        nodes: operators.iter().map(|operator| operator.nodes).sum(),
        operators,
    })
}

fn show_description(about: &Description, terminal: Terminal) -> String {
    let strong = |text: &str| terminal.paint(terminal.strong(), text);
    let mut text = format!("{}\n", strong(format!("{} {}", about.name, about.version).trim_end()));
    _ = writeln!(text, "family      {}", about.family);
    _ = writeln!(text, "template    {}", about.template.escape_debug());
    _ = writeln!(text, "max tokens  {}", about.max_tokens);
    let RunsOn { device, engine, workers, compiled } = &about.runs_on;
    _ = writeln!(text, "runs on     {device} ({engine}), {workers}");
    if let Some(path) = compiled {
        _ = writeln!(text, "compiled    {path}");
    }

    _ = writeln!(text, "\n{}", strong("label     temperature  threshold"));
    for &maxim in &about.labels {
        let (temperature, threshold) = (about.temperatures.get(maxim), about.thresholds.get(maxim));
        _ = writeln!(text, "{maxim:<8}  {temperature:>11.4}  {threshold:>9.4}");
    }

    _ = writeln!(text, "\n{}", strong("precision        size  file"));
    for file in &about.files {
        let size = file.bytes.map_or_else(|| "missing".to_owned(), show_bytes);
        _ = writeln!(text, "{:<9}  {size:>10}  {}", file.precision, file.path);
    }

    let graph = &about.graph;
    _ = writeln!(text, "\n{}", strong(&format!("graph of {}", graph.precision)));
    _ = writeln!(text, "inputs      {}", graph.inputs.join(", "));
    let rows = graph.vocabulary_rows.map_or_else(|| "unknown".to_owned(), |rows| rows.to_string());
    _ = writeln!(text, "vocabulary  {rows} rows");
    _ = writeln!(text, "constants   {}", show_bytes(graph.constant_bytes as u64));
    _ = match (&graph.unfused_because, graph.compared_up_to) {
        (Some(reason), _) => writeln!(text, "fused       no: {reason}"),
        (None, None) => writeln!(text, "fused       yes"),
        (None, Some(tokens)) => {
            writeln!(text, "fused       yes, equal to the graph for sequences of up to {tokens} tokens")
        }
    };
    _ = writeln!(text, "steps       {}", graph.nodes);
    for operator in &graph.operators {
        _ = writeln!(text, "  {:>5}  {}", operator.nodes, operator.operator);
    }
    text
}

/// In the largest binary unit that leaves at least 1.
fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
