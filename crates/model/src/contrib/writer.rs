//! Writes the standard nodes that take the place of one.

use crate::fuse::constants::{FLOAT16, INT64};
use crate::proto::{integer_attribute, integers_attribute, node_of};
use half::f16;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// Nodes and constants whose names begin with the name of the value that they make.
pub(super) struct Writer {
    pub(super) nodes: Vec<NodeProto>,
    pub(super) initializers: Vec<TensorProto>,
    prefix: String,
    /// The element type of factors.
    float: i32,
    /// The version of the standard operators.
    opset: i64,
    names: usize,
}

/// From this opset on `ReduceSum` takes its axes as an input.
const AXES_ARE_INPUT: i64 = 13;

/// What messages call a node: many have no name.
pub(super) fn label(node: &NodeProto) -> String {
    match node.name.is_empty() {
        true => node.output.first().cloned().unwrap_or_default(),
        false => node.name.clone(),
    }
}

impl Writer {
    pub(super) fn new(node: &NodeProto, float: i32, opset: i64) -> Writer {
        let output = node.output.iter().find(|name| !name.is_empty());
        let prefix = output.cloned().unwrap_or_else(|| node.name.clone());
        Writer { nodes: Vec::new(), initializers: Vec::new(), prefix, float, opset, names: 0 }
    }

    /// Writes factors in another element type than that of most weights.
    pub(super) fn set_float(&mut self, float: i32) {
        self.float = float;
    }

    /// A node that makes a value of its own.
    pub(super) fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        let output = self.name(op);
        self.op_to(op, inputs, &output);
        output
    }

    /// A name for a value that is yet to be made.
    pub(super) fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{}/{what}.{}", self.prefix, self.names)
    }

    /// A node that makes the value `output`.
    pub(super) fn op_to(&mut self, op: &str, inputs: &[&str], output: &str) {
        let inputs = inputs.iter().map(|&name| name.to_owned()).collect();
        self.nodes.push(node_of(op, inputs, output.to_owned()));
    }

    /// Gives the last node an attribute.
    pub(super) fn with(&mut self, attribute: AttributeProto) {
        if let Some(node) = self.nodes.last_mut() {
            node.attribute.push(attribute);
        }
    }

    /// Lets the last node make another value: the one that a whole expansion ends in.
    pub(super) fn rename_last(&mut self, output: &str) {
        if let Some(node) = self.nodes.last_mut() {
            node.output = vec![output.to_owned()];
            node.name = output.to_owned();
        }
    }

    /// A constant under a name of its own.
    pub(super) fn constant(&mut self, tensor: TensorProto) -> String {
        let name = self.name("constant");
        self.initializers.push(TensorProto { name: name.clone(), ..tensor });
        name
    }

    /// A scalar in the element type of the graph's weights.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        let raw_data = match self.float {
            FLOAT16 => f16::from_f32(value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        self.constant(TensorProto { data_type: self.float, raw_data, ..TensorProto::default() })
    }

    /// A vector of 64-bit integers.
    pub(super) fn integers(&mut self, values: &[i64]) -> String {
        let dims = vec![values.len() as i64];
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(TensorProto { data_type: INT64, dims, raw_data, ..TensorProto::default() })
    }

    /// A 64-bit integer without axes.
    pub(super) fn integer(&mut self, value: i64) -> String {
        let raw_data = value.to_le_bytes().to_vec();
        self.constant(TensorProto { data_type: INT64, raw_data, ..TensorProto::default() })
    }

    /// The value in the element type of factors.
    pub(super) fn cast_to_float(&mut self, value: &str) -> String {
        let float = i64::from(self.float);
        let cast = self.op("Cast", &[value]);
        self.with(integer_attribute("to", float));
        cast
    }

    /// The sum along an axis, which is dropped.
    pub(super) fn sum_to(&mut self, value: &str, axis: i64, output: &str) {
        if self.opset >= AXES_ARE_INPUT {
            let axes = self.integers(&[axis]);
            self.op_to("ReduceSum", &[value, &axes], output);
        } else {
            self.op_to("ReduceSum", &[value], output);
            self.with(integers_attribute("axes", &[axis]));
        }
        self.with(integer_attribute("keepdims", 0));
    }

    /// `[batch, tokens, heads · size]` → `[batch, heads, tokens, size]`.
    pub(super) fn split_heads(&mut self, value: &str, heads: i64, size: i64) -> String {
        let split = self.reshape(value, &[0, 0, heads, size]);
        let moved = self.op("Transpose", &[&split]);
        self.with(integers_attribute("perm", &[0, 2, 1, 3]));
        moved
    }

    /// `[batch, heads, tokens, size]` → `[batch, heads, size, tokens]`.
    pub(super) fn exchange_tokens_and_columns(&mut self, value: &str) -> String {
        let moved = self.op("Transpose", &[value]);
        self.with(integers_attribute("perm", &[0, 1, 3, 2]));
        moved
    }

    /// How long the last of four axes is, as a factor.
    pub(super) fn size_of_last_axis(&mut self, value: &str) -> String {
        let shape = self.op("Shape", &[value]);
        let axis = self.integer(3);
        let size = self.op("Gather", &[&shape, &axis]);
        self.cast_to_float(&size)
    }

    pub(super) fn reshape(&mut self, value: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.op("Reshape", &[value, &shape])
    }

    /// `[batch, heads, tokens, size]` → `[batch, tokens, heads · size]`.
    pub(super) fn join_heads(&mut self, value: &str, columns: i64, output: &str) {
        let moved = self.op("Transpose", &[value]);
        self.with(integers_attribute("perm", &[0, 2, 1, 3]));
        let shape = self.integers(&[0, 0, columns]);
        self.op_to("Reshape", &[&moved, &shape], output);
    }
}
