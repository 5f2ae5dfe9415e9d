//! Functions that a model brings with it → the nodes that they stand for.

use crate::{Error, Result};
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

/// Functions may call functions, and a few lines of them stand for nodes without end.
const NODES_MOST: usize = 1 << 20;
const DEPTH_MOST: usize = 64;

/// Functions by domain and name; `None` where two share both, told apart by what this build cannot read.
type Known = HashMap<(String, String), Option<FunctionProto>>;

/// Spells out every call; afterwards the model has no functions.
///
/// # Errors
/// [`Error::Function`] naming the node and the function.
pub(super) fn inline(model: &mut ModelProto) -> Result<()> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let mut known = Known::new();
    for function in std::mem::take(&mut model.functions) {
        import_opsets(&mut model.opset_import, &function.opset_import);
        let domain = plain_domain(function.domain.as_deref().unwrap_or_default()).to_owned();
        let name = function.name.clone().unwrap_or_default();
        known.entry((domain, name)).and_modify(|two| *two = None).or_insert(Some(function));
    }
    let mut inliner = Inliner { known, calls: 0, nodes: 0 };
    match &mut model.graph {
        Some(graph) => inliner.inline_graph(graph, 0),
        None => Ok(()),
    }
}

fn plain_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// A file whose graph only calls functions may name no operator set but theirs.
fn import_opsets(model: &mut Vec<OperatorSetIdProto>, function: &[OperatorSetIdProto]) {
    for set in function {
        if model.iter().all(|own| plain_domain(&own.domain) != plain_domain(&set.domain)) {
            model.push(set.clone());
        }
    }
}

struct Inliner {
    known: Known,
    /// How many calls were spelled out, to name their values apart.
    calls: usize,
    nodes: usize,
}

impl Inliner {
    fn inline_graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<()> {
        graph.node = self.inline_nodes(std::mem::take(&mut graph.node), depth)?;
        Ok(())
    }

    fn inline_nodes(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>> {
        let mut spelled_out = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            for attribute in &mut node.attribute {
                for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                    self.inline_graph(body, depth)?;
                }
            }
            let key = (plain_domain(&node.domain).to_owned(), node.op_type.clone());
            let Some(function) = self.known.get(&key).cloned() else {
                spelled_out.push(node);
                continue;
            };
            let refused = |problem: &str| Error::Function {
                function: node.op_type.clone(),
                node: node.name.clone(),
                problem: problem.to_owned(),
            };
            let function = function.ok_or_else(|| refused("is overloaded, which grice cannot read"))?;
            self.nodes += function.node.len();
            if depth >= DEPTH_MOST || self.nodes > NODES_MOST {
                return Err(refused("calls itself, or too many others"));
            }
            self.calls += 1;
            let body = Call::new(&function, &node, self.calls).body().map_err(|problem| refused(&problem))?;
            spelled_out.extend(self.inline_nodes(body, depth + 1)?);
        }
        Ok(spelled_out)
    }
}

/// One call of a function.
struct Call<'a> {
    function: &'a FunctionProto,
    node: &'a NodeProto,
    prefix: String,
    /// Names inside the function → names outside.
    names: HashMap<&'a str, &'a str>,
}

impl<'a> Call<'a> {
    fn new(function: &'a FunctionProto, node: &'a NodeProto, number: usize) -> Call<'a> {
        let given = |names: &'a [String], slot: usize| names.get(slot).map_or("", String::as_str);
        let inputs = function.input.iter().enumerate().map(|(slot, name)| (name.as_str(), given(&node.input, slot)));
        let outputs = function.output.iter().enumerate().map(|(slot, name)| (name.as_str(), given(&node.output, slot)));
        // An output that nobody takes keeps a name of its own.
        let names = inputs.chain(outputs.filter(|(_, outside)| !outside.is_empty())).collect();
        Call { function, node, prefix: format!("{}.{number}", node.op_type), names }
    }

    /// The function's nodes in the caller's names.
    fn body(&self) -> Result<Vec<NodeProto>, String> {
        let mut nodes = self.function.node.iter().map(|node| self.node(node)).collect::<Result<Vec<_>, _>>()?;
        // A function may hand an input on as an output.
        for (slot, output) in self.function.output.iter().enumerate() {
            let outside = self.node.output.get(slot).filter(|name| !name.is_empty());
            let input = self.function.input.iter().position(|input| input == output);
            if let (Some(outside), Some(input)) = (outside, input) {
                let given = self.node.input.get(input).cloned().unwrap_or_default();
                nodes.push(crate::proto::node_of("Identity", vec![given], outside.clone()));
            }
        }
        Ok(nodes)
    }

    fn node(&self, node: &NodeProto) -> Result<NodeProto, String> {
        let mut node = node.clone();
        node.name = format!("{}/{}", self.prefix, node.name);
        node.input.iter_mut().chain(&mut node.output).for_each(|name| *name = self.rename(name));
        let attributes = std::mem::take(&mut node.attribute);
        for attribute in attributes {
            node.attribute.extend(self.attribute(attribute)?);
        }
        Ok(node)
    }

    fn rename(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(outside) => (*outside).to_owned(),
            None if name.is_empty() => String::new(),
            None => format!("{}/{name}", self.prefix),
        }
    }

    /// The attribute with the caller's value; `None` for one that may be left out and is.
    fn attribute(&self, mut attribute: AttributeProto) -> Result<Option<AttributeProto>, String> {
        if !attribute.ref_attr_name.is_empty() {
            let outer = &attribute.ref_attr_name;
            return match self.node.attribute.iter().find(|given| given.name == *outer) {
                Some(given) => Ok(Some(AttributeProto { name: attribute.name, ..given.clone() })),
                None if self.function.attribute.contains(outer) => Ok(None),
                // The defaults of attributes are in a field that the reader of the file does not know.
                None => {
                    Err(format!("takes `{outer}`, which the node does not give; inline the functions when exporting"))
                }
            };
        }
        for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            self.graph(body)?;
        }
        Ok(Some(attribute))
    }

    fn graph(&self, graph: &mut GraphProto) -> Result<(), String> {
        let values = graph.input.iter_mut().chain(&mut graph.output).map(|value| &mut value.name);
        values
            .chain(graph.initializer.iter_mut().map(|tensor| &mut tensor.name))
            .for_each(|name| *name = self.rename(name));
        graph.value_info.clear();
        let nodes = std::mem::take(&mut graph.node);
        graph.node = nodes.iter().map(|node| self.node(node)).collect::<Result<_, _>>()?;
        Ok(())
    }
}
