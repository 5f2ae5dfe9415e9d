//! Runs a piece of the graph between anchors on small inputs, through tract, with every shape concrete.
//!
//! What the piece computes is thereby known without knowing how an exporter spelled it.

use super::anchors::{Anchor, Anchors};
use super::graph::Graph;
use super::region::{Region, Step};
use crate::framework::framework;
use crate::proto::{float_tensor, node_of};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{bail, format_err};

/// Runs pieces of one graph.
pub(super) struct Probe<'a, 'p> {
    graph: &'a Graph<'p>,
    anchors: &'a Anchors<'p>,
    opsets: &'a [OperatorSetIdProto],
}

impl<'a, 'p> Probe<'a, 'p> {
    pub(super) fn new(graph: &'a Graph<'p>, anchors: &'a Anchors<'p>, opsets: &'a [OperatorSetIdProto]) -> Self {
        Probe { graph, anchors, opsets }
    }

    /// The value that a region ends in, when its sources are `feeds`.
    pub(super) fn run(&self, region: &Region<'p>, feeds: &HashMap<&'p str, Tensor>) -> TractResult<Tensor> {
        if let Some(fed) = feeds.get(region.value) {
            return Ok(fed.clone());
        }
        let parsed = framework().parse(&self.model_of(region)?, None)?;
        let mut model = parsed.model;
        let mut values: TVec<TValue> = tvec!();
        let mut inputs = Vec::new();
        for source in &region.sources {
            let Some(&outlet) = parsed.outlets_by_name.get(*source) else { continue };
            let tensor = feeds.get(source).ok_or_else(|| format_err!("`{source}` is needed, but not known"))?;
            model.set_outlet_fact(outlet, InferenceFact::dt_shape(tensor.datum_type(), tensor.shape()))?;
            inputs.push(outlet);
            values.push(tensor.clone().into_tvalue());
        }
        model.set_input_outlets(&inputs)?;
        let typed = model.into_typed()?;
        let optimized = typed.clone().into_optimized().and_then(|model| model.into_runnable());
        let outputs = match optimized.and_then(|plan| plan.run(values.clone())) {
            Ok(outputs) => outputs,
            // Sizes that are all known may lead the optimizer to an operator that does not take integers, such as the square of a mask.
            Err(_) => typed.into_runnable()?.run(values)?,
        };
        outputs.into_iter().next().map(TValue::into_tensor).ok_or_else(|| format_err!("no output"))
    }

    /// A region as a typed graph of its own, from its only source, `[rows, columns]` with symbolic rows.
    pub(super) fn typed(&self, region: &Region<'p>, columns: usize) -> TractResult<TypedModel> {
        let parsed = framework().parse(&self.model_of(region)?, None)?;
        let mut model = parsed.model;
        let &[source] = region.sources.as_slice() else { bail!("it reads {}", region.sources.join(", ")) };
        let outlet = *parsed.outlets_by_name.get(source).ok_or_else(|| format_err!("`{source}` is not used"))?;
        let rows = model.symbols.sym("rows");
        model.set_outlet_fact(outlet, f32::fact([rows.to_dim(), columns.to_dim()]).into())?;
        model.set_input_outlets(&[outlet])?;
        model.into_typed()?.into_decluttered()
    }

    /// The nodes of a region and the constants they read. Dense layers in it are written in single precision.
    fn model_of(&self, region: &Region<'p>) -> TractResult<ModelProto> {
        let mut graph = GraphProto { name: "region".to_owned(), ..GraphProto::default() };
        let mut constants = HashSet::new();
        for step in &region.steps {
            match *step {
                Step::Node(index) => {
                    let node = &self.graph.proto.node[index];
                    for name in node.input.iter().filter(|name| !name.is_empty()) {
                        if let Some(tensor) = self.graph.constant(name)
                            && constants.insert(self.graph.resolve(name))
                        {
                            let name = self.graph.resolve(name).to_owned();
                            graph.initializer.push(TensorProto { name, ..tensor.clone() });
                        }
                    }
                    let input = node.input.iter().map(|input| self.graph.resolve(input).to_owned()).collect();
                    graph.node.push(NodeProto { input, ..node.clone() });
                }
                Step::Linear(output) => self.push_linear(&mut graph, output)?,
            }
        }
        graph.output = vec![ValueInfoProto { name: region.value.to_owned(), ..ValueInfoProto::default() }];
        let opset_import = self.opsets.to_vec();
        Ok(ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() })
    }

    /// `MatMul` and `Add` with the weights of a dense layer, whatever precision it was stored in.
    fn push_linear(&self, graph: &mut GraphProto, output: &'p str) -> TractResult<()> {
        let Some(Anchor::Linear { input, weights, bias }) = self.anchors.get(output) else {
            bail!("`{output}` is no dense layer")
        };
        let matrix = weights.read().ok_or_else(|| format_err!("the weights of `{output}` cannot be read"))?;
        let bias = bias.map(|bias| bias.read().ok_or_else(|| format_err!("the bias of `{output}` cannot be read")));
        let bias = bias.transpose()?.unwrap_or_else(|| vec![0.0; matrix.columns()]);
        let names = ["weights", "bias", "product"].map(|part| format!("{output}.{part}"));
        let [weights_name, bias_name, product] = names;
        let dims = [matrix.rows() as i64, matrix.columns() as i64];
        graph.initializer.push(float_tensor(&weights_name, &dims, &matrix.to_f32()));
        graph.initializer.push(float_tensor(&bias_name, &dims[1..], &bias));
        let input = self.graph.resolve(input).to_owned();
        graph.node.push(node_of("MatMul", vec![input, weights_name], product.clone()));
        graph.node.push(node_of("Add", vec![product, bias_name], output.to_owned()));
        Ok(())
    }
}
