//! Heads as dense layers answer what their graphs answer; what is no chain of dense layers says why and runs as a graph all the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_kernels::{Activation, Isa, vector};
use grice_model::{Dense, Network, Program};
use grice_testkit::assert_close;
use grice_testkit::fixtures::{Fixture, QuantizedByOnnxRuntime};
use prost::Message;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto};

const FIRST_TOKEN: &str = "first";

fn apply(layers: &[Dense], first: &[f32]) -> Vec<f32> {
    layers.iter().fold(first.to_vec(), |x, Dense { linear, activation, .. }| {
        let weights = linear.weights.to_f32();
        let rows = x.chunks_exact(linear.inputs());
        let mut y: Vec<f32> = rows.flat_map(|row| product(row, &weights, linear.bias.as_deref().unwrap())).collect();
        let isa = Isa::best();
        match activation {
            Activation::Identity => (),
            Activation::Gelu => vector::gelu(isa, &mut y),
            Activation::GeluTanh => vector::gelu_tanh(isa, &mut y),
            Activation::Relu => vector::relu(isa, &mut y),
            Activation::Tanh => vector::tanh(isa, &mut y),
            Activation::Silu => vector::silu(isa, &mut y),
        }
        y
    })
}

fn product(row: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
    let column =
        |j: usize| row.iter().enumerate().map(move |(i, x)| f64::from(*x) * f64::from(weights[i * bias.len() + j]));
    (0..bias.len()).map(|j| (column(j).sum::<f64>() + f64::from(bias[j])) as f32).collect()
}

/// Compares both forms on rows that no model ever makes.
fn check_program(what: &str, program: &Program, depth: usize) {
    let layers = program.head().unwrap().layers.as_ref().unwrap_or_else(|unfused| panic!("{what}: {}", unfused.reason));
    assert_eq!(layers.len(), depth, "{what}");
    let first: Vec<f32> = (0..3 * program.hidden()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
    let expected = program.head().unwrap().plan(program.hidden(), 4).unwrap().runner().unwrap().run(&first).unwrap();
    assert_close(what, &apply(layers, &first), &expected, 1e-4);
}

fn program(onnx: &[u8]) -> Program {
    Network::import(onnx, 4).unwrap().into_program().ok().unwrap()
}

#[test]
fn heads_of_the_fixtures_are_dense_layers() {
    // A pooler and a classifier; and three layers for each maxim.
    let depth = |name: &str| if name.starts_with("tiny-bert") { 2 } else { 3 };
    for fixture in Fixture::all() {
        check_program(fixture.name, &program(&fixture.onnx()), depth(fixture.name));
    }
    for file in QuantizedByOnnxRuntime::all() {
        check_program(&file.name, &program(&file.onnx()), depth(&file.name));
    }
}

/// tiny-bert with another head, which reads [`FIRST_TOKEN`], `[rows, 32]`, and makes `logits`.
fn with_head(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Vec<u8> {
    let mut model = ModelProto::decode(Fixture::all()[0].onnx().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let pooler = graph.node.iter().position(|node| node.op_type == "Gather" && node.name.contains("pooler")).unwrap();
    graph.node.truncate(pooler + 1);
    graph.node[pooler].output = vec![FIRST_TOKEN.to_owned()];
    graph.node.extend(nodes);
    graph.initializer.extend(constants);
    graph.output.retain(|output| output.name == "logits");
    model.encode_to_vec()
}

/// Nodes and constants, as they are thought of.
#[derive(Default)]
struct Nodes {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Nodes {
    fn op(mut self, op: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) -> Nodes {
        let attribute =
            |&(name, i): &(&str, i64)| AttributeProto { name: name.into(), i, r#type: 2, ..Default::default() };
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: output.into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        });
        self
    }

    fn constant(mut self, name: &str, dims: &[i64]) -> Nodes {
        let count: i64 = dims.iter().product();
        let seed = name.bytes().map(i64::from).sum::<i64>();
        let values = (0..count).map(|i| ((i * 29 + seed) % 23 - 11) as f32 / 20.0);
        let raw_data = values.flat_map(f32::to_le_bytes).collect();
        self.constants.push(TensorProto {
            name: name.into(),
            dims: dims.into(),
            data_type: 1,
            raw_data,
            ..Default::default()
        });
        self
    }

    fn dense(self, input: &str, output: &str, [k, n]: [i64; 2]) -> Nodes {
        let (weights, bias) = (format!("{output}.w"), format!("{output}.b"));
        self.constant(&weights, &[k, n]).constant(&bias, &[n]).op("Gemm", &[input, &weights, &bias], output, &[])
    }

    fn import(self) -> Program {
        program(&with_head(self.nodes, self.constants))
    }
}

#[test]
fn branches_become_one_chain() {
    let branch = |nodes: Nodes, name: &str| {
        let (up, active, down) = (format!("{name}.up"), format!("{name}.relu"), format!("{name}.down"));
        let nodes = nodes.dense(FIRST_TOKEN, &up, [32, 6]).op("Relu", &[&up], &active, &[]);
        nodes.dense(&active, &down, [6, 1])
    };
    let nodes = ["a", "b", "c", "d"].into_iter().fold(Nodes::default(), branch);
    let nodes = nodes.op("Concat", &["c.down", "a.down", "d.down", "b.down"], "logits", &[("axis", 1)]);
    check_program("heads in another order", &nodes.import(), 2);

    let trunk = Nodes::default().dense(FIRST_TOKEN, "trunk", [32, 7]).op("Tanh", &["trunk"], "tanh", &[]);
    let nodes = trunk.dense("tanh", "first two", [7, 2]).dense("tanh", "last two", [7, 2]);
    let nodes = nodes.op("Concat", &["first two", "last two"], "logits", &[("axis", 1)]);
    check_program("a trunk with two branches", &nodes.import(), 2);

    check_program("one layer", &Nodes::default().dense(FIRST_TOKEN, "logits", [32, 4]).import(), 1);
}

#[test]
fn what_is_no_chain_says_why_and_runs_as_a_graph() {
    let check = |nodes: Nodes, reason: &str| {
        let program = nodes.import();
        let told = program.head().unwrap().layers.as_ref().expect_err(reason);
        assert!(told.reason.contains(reason), "{reason}: {}", told.reason);
        let first = vec![0.5; 2 * program.hidden()];
        assert_eq!(
            program.head().unwrap().plan(program.hidden(), 4).unwrap().runner().unwrap().run(&first).unwrap().len(),
            8
        );
    };
    let halves = |nodes: Nodes| nodes.op("Concat", &["left", "right"], "logits", &[("axis", 1)]);
    let up = |nodes: Nodes, name: &str| nodes.dense(FIRST_TOKEN, name, [32, 5]);

    let doubled =
        Nodes::default().dense(FIRST_TOKEN, "single", [32, 4]).op("Add", &["single", "single"], "logits", &[]);
    check(doubled, "side by side");
    let unequal = up(up(Nodes::default(), "a"), "b").op("Relu", &["a"], "ra", &[]).op("Tanh", &["b"], "tb", &[]);
    check(halves(unequal.dense("ra", "left", [5, 2]).dense("tb", "right", [5, 2])), "at the same depth");
    let uneven = up(Nodes::default(), "a").op("Relu", &["a"], "ra", &[]).dense("ra", "left", [5, 2]);
    check(halves(uneven.dense(FIRST_TOKEN, "right", [32, 2])), "no dense layer after it");
    let norm = Nodes::default().constant("gamma", &[32]).constant("beta", &[32]);
    let norm = norm.op("LayerNormalization", &[FIRST_TOKEN, "gamma", "beta"], "normed", &[("axis", -1)]);
    check(norm.dense("normed", "logits", [32, 4]), "no dense layer of the head");
}
