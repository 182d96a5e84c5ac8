//! A small writer of ONNX models: operators with known shapes, in the order in which they compute, and the protocol buffers
//! that a file is made of.
//!
//! A [`Value`] knows its shape and type, and each operator checks those of its inputs, so that a graph that does not fit
//! together is found where it is made and not by somebody's compiler. What is large lies in files beside the model.

use std::fs::File;
use std::io::{self, BufWriter, Write};

/// The version of the operators: the first whose quantised numbers may have 16 bits.
const OPSET: u64 = 21;
/// The version of the file format that goes with it.
const IR_VERSION: u64 = 10;
/// Large tensors begin at a multiple of this.
const ALIGNMENT: u64 = 64;

/// The type of a value's numbers, as ONNX counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32 = 1,
    I8 = 3,
    U16 = 4,
    I64 = 7,
    F16 = 10,
}

/// A tensor of a graph.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
}

/// Where the bytes of a tensor are, if not in the model itself: a file beside it.
#[derive(Clone, Debug)]
pub(super) struct External {
    pub(super) file: String,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// An attribute of an operator.
enum Attribute<'a> {
    Float(f32),
    Int(i64),
    Text(&'a str),
    Ints(Vec<i64>),
}

/// A graph in the making.
#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<u8>,
    initializers: Vec<u8>,
    inputs: Vec<u8>,
    outputs: Vec<u8>,
    values: usize,
}

/// The file of large tensors.
pub(super) struct Data {
    out: BufWriter<File>,
    name: String,
    length: u64,
}

impl Data {
    /// Writes to `file`, which lies beside the model under this `name`.
    pub(super) fn new(file: File, name: &str) -> Self {
        Self { out: BufWriter::new(file), name: name.to_owned(), length: 0 }
    }

    /// Adds a tensor by its bytes, piece after piece.
    pub(super) fn add(&mut self, pieces: impl Iterator<Item = Vec<u8>>) -> io::Result<External> {
        let offset = self.length.next_multiple_of(ALIGNMENT);
        self.out.write_all(&vec![0; (offset - self.length) as usize])?;
        let mut length = 0;
        for piece in pieces {
            self.out.write_all(&piece)?;
            length += piece.len() as u64;
        }
        self.length = offset + length;
        Ok(External { file: self.name.clone(), offset, length })
    }

    /// Completes the file.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Graph {
    /// The model, as the bytes of its file.
    pub(super) fn finish(self, name: &str) -> Vec<u8> {
        let mut graph = self.nodes;
        text(&mut graph, 2, name);
        graph.extend(self.initializers);
        graph.extend(self.inputs);
        graph.extend(self.outputs);
        let mut model = Vec::with_capacity(graph.len() + 64);
        number(&mut model, 1, IR_VERSION);
        text(&mut model, 2, "babil");
        text(&mut model, 3, env!("CARGO_PKG_VERSION"));
        bytes(&mut model, 7, &graph);
        let mut opset = Vec::new();
        text(&mut opset, 1, "");
        number(&mut opset, 2, OPSET);
        bytes(&mut model, 8, &opset);
        model
    }

    fn name(&mut self) -> String {
        self.values += 1;
        format!("v{}", self.values)
    }

    /// An input of float32.
    pub(super) fn input(&mut self, name: &str, shape: &[usize]) -> Value {
        let value = Value { name: name.to_owned(), shape: shape.to_vec(), kind: Kind::F32 };
        bytes(&mut self.inputs, 11, &description(&value));
        value
    }

    /// Makes `value` an output.
    pub(super) fn output(&mut self, name: &str, value: &Value) {
        let out = Value { name: name.to_owned(), ..value.clone() };
        self.write_node("Identity", &[value], &out, &[]);
        bytes(&mut self.outputs, 12, &description(&out));
    }

    /// A constant by its bytes, little-endian.
    fn constant(&mut self, kind: Kind, shape: &[usize], raw: &[u8]) -> Value {
        let value = Value { name: self.name(), shape: shape.to_vec(), kind };
        let mut tensor = tensor(&value);
        bytes(&mut tensor, 9, raw);
        bytes(&mut self.initializers, 5, &tensor);
        value
    }

    /// A small constant of float32.
    pub(super) fn floats(&mut self, shape: &[usize], values: &[f32]) -> Value {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values of {shape:?}");
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(Kind::F32, shape, &raw)
    }

    /// A small constant of float16.
    pub(super) fn halves(&mut self, shape: &[usize], values: &[f32]) -> Value {
        let raw: Vec<u8> = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        self.constant(Kind::F16, shape, &raw)
    }

    /// One number.
    pub(super) fn scalar(&mut self, value: f32) -> Value {
        self.floats(&[], &[value])
    }

    /// One number of 16 bits.
    pub(super) fn scalar_u16(&mut self, value: u16) -> Value {
        self.constant(Kind::U16, &[], &value.to_le_bytes())
    }

    fn integers(&mut self, values: &[i64]) -> Value {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(Kind::I64, &[values.len()], &raw)
    }

    /// A large constant.
    pub(super) fn external(&mut self, kind: Kind, shape: &[usize], place: &External) -> Value {
        let value = Value { name: self.name(), shape: shape.to_vec(), kind };
        let mut tensor = tensor(&value);
        let (offset, length) = (place.offset.to_string(), place.length.to_string());
        for (key, of_key) in [("location", &place.file), ("offset", &offset), ("length", &length)] {
            let mut entry = Vec::new();
            text(&mut entry, 1, key);
            text(&mut entry, 2, of_key);
            bytes(&mut tensor, 13, &entry);
        }
        number(&mut tensor, 14, 1);
        bytes(&mut self.initializers, 5, &tensor);
        value
    }

    fn node(
        &mut self,
        op: &str,
        inputs: &[&Value],
        kind: Kind,
        shape: Vec<usize>,
        attributes: &[(&str, Attribute<'_>)],
    ) -> Value {
        let out = Value { name: self.name(), shape, kind };
        self.write_node(op, inputs, &out, attributes);
        out
    }

    fn write_node(&mut self, op: &str, inputs: &[&Value], out: &Value, attributes: &[(&str, Attribute<'_>)]) {
        let mut node = Vec::new();
        inputs.iter().for_each(|input| text(&mut node, 1, &input.name));
        text(&mut node, 2, &out.name);
        text(&mut node, 3, &format!("{op}.{}", out.name));
        text(&mut node, 4, op);
        for (name, attribute) in attributes {
            let mut of_node = Vec::new();
            text(&mut of_node, 1, name);
            let kind = match attribute {
                Attribute::Float(value) => {
                    tag(&mut of_node, 2, 5);
                    of_node.extend(value.to_le_bytes());
                    1
                }
                Attribute::Int(value) => {
                    number(&mut of_node, 3, *value as u64);
                    2
                }
                Attribute::Text(value) => {
                    text(&mut of_node, 4, value);
                    3
                }
                Attribute::Ints(values) => {
                    values.iter().for_each(|value| number(&mut of_node, 8, *value as u64));
                    7
                }
            };
            number(&mut of_node, 20, kind);
            bytes(&mut node, 5, &of_node);
        }
        bytes(&mut self.nodes, 1, &node);
    }

    /// An operator on one value that keeps its shape: `Relu`, `Sigmoid`, `Tanh`, `Sqrt`, `Reciprocal`.
    pub(super) fn unary(&mut self, op: &str, x: &Value) -> Value {
        self.node(op, &[x], x.kind, x.shape.clone(), &[])
    }

    /// x * Phi(x), exactly or by way of tanh.
    pub(super) fn gelu(&mut self, x: &Value, tanh: bool) -> Value {
        let how = Attribute::Text(if tanh { "tanh" } else { "none" });
        self.node("Gelu", &[x], x.kind, x.shape.clone(), &[("approximate", how)])
    }

    /// `Add`, `Sub`, `Mul` or `Div`; dimensions of 1 are repeated.
    pub(super) fn binary(&mut self, op: &str, a: &Value, b: &Value) -> Value {
        assert_eq!(a.kind, b.kind, "{op} of two types");
        let rank = a.shape.len().max(b.shape.len());
        let at = |value: &Value, i: usize| (i + value.shape.len()).checked_sub(rank).map_or(1, |i| value.shape[i]);
        let dims = (0..rank).map(|i| match (at(a, i), at(b, i)) {
            (1, d) | (d, 1) => d,
            (d, e) if d == e => d,
            _ => panic!("{op} of {:?} and {:?}", a.shape, b.shape),
        });
        let shape = dims.collect();
        self.node(op, &[a, b], a.kind, shape, &[])
    }

    /// `alpha * x w^T + b`: `x` `[m, k]`, `w` `[n, k]`, `b` `[n]`.
    pub(super) fn linear(&mut self, x: &Value, w: &Value, b: Option<&Value>, alpha: f32) -> Value {
        let (&[m, k], &[n, inner]) = (&x.shape[..], &w.shape[..]) else { panic!("{:?} {:?}", x.shape, w.shape) };
        assert!(k == inner && x.kind == w.kind && b.is_none_or(|b| b.shape == [n] && b.kind == x.kind));
        let inputs: Vec<&Value> = [x, w].into_iter().chain(b).collect();
        let attributes = [("transB", Attribute::Int(1)), ("alpha", Attribute::Float(alpha))];
        self.node("Gemm", &inputs, x.kind, vec![m, n], &attributes)
    }

    /// Products of matrices, `[.., m, k]` and `[.., k, n]`.
    pub(super) fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        let (split_a, split_b) = (a.shape.split_last_chunk::<2>(), b.shape.split_last_chunk::<2>());
        let (Some((batch, &[m, k])), Some((other, &[inner, n]))) = (split_a, split_b) else { panic!("no matrices") };
        assert!(batch == other && k == inner && a.kind == b.kind, "{:?} {:?}", a.shape, b.shape);
        let shape = [batch, &[m, n]].concat();
        self.node("MatMul", &[a, b], a.kind, shape, &[])
    }

    /// The same numbers in another shape.
    pub(super) fn reshape(&mut self, x: &Value, shape: &[usize]) -> Value {
        assert_eq!(x.shape.iter().product::<usize>(), shape.iter().product::<usize>(), "{:?} {shape:?}", x.shape);
        let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let dims = self.integers(&dims);
        self.node("Reshape", &[x, &dims], x.kind, shape.to_vec(), &[])
    }

    /// Dimension `order[i]` becomes dimension `i`.
    pub(super) fn transpose(&mut self, x: &Value, order: &[usize]) -> Value {
        let shape = order.iter().map(|&i| x.shape[i]).collect();
        let order = order.iter().map(|&i| i as i64).collect();
        self.node("Transpose", &[x], x.kind, shape, &[("perm", Attribute::Ints(order))])
    }

    /// One after the other along dimension `axis`.
    pub(super) fn concat(&mut self, axis: usize, parts: &[&Value]) -> Value {
        let mut shape = parts[0].shape.clone();
        shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
        self.node("Concat", parts, parts[0].kind, shape, &[("axis", Attribute::Int(axis as i64))])
    }

    /// `start..end` of dimension `axis`.
    pub(super) fn slice(&mut self, x: &Value, axis: usize, start: usize, end: usize) -> Value {
        assert!(start < end && end <= x.shape[axis], "{start}..{end} of {:?}", x.shape);
        let mut shape = x.shape.clone();
        shape[axis] = end - start;
        let [starts, ends, axes] = [start, end, axis].map(|i| self.integers(&[i as i64]));
        self.node("Slice", &[x, &starts, &ends, &axes], x.kind, shape, &[])
    }

    /// Along the last dimension.
    pub(super) fn softmax(&mut self, x: &Value) -> Value {
        self.node("Softmax", &[x], x.kind, x.shape.clone(), &[("axis", Attribute::Int(-1))])
    }

    /// Along the last dimension, with weight and bias.
    pub(super) fn layer_norm(&mut self, x: &Value, weight: &Value, bias: &Value, eps: f32) -> Value {
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(eps))];
        self.node("LayerNormalization", &[x, weight, bias], x.kind, x.shape.clone(), &attributes)
    }

    /// Of the last dimension, which becomes 1.
    pub(super) fn mean(&mut self, x: &Value) -> Value {
        let axes = self.integers(&[-1]);
        let mut shape = x.shape.clone();
        *shape.last_mut().expect("a dimension") = 1;
        self.node("ReduceMean", &[x, &axes], x.kind, shape, &[("keepdims", Attribute::Int(1))])
    }

    /// `ReduceMin` or `ReduceMax` of all numbers, `[1]`.
    pub(super) fn extreme(&mut self, op: &str, x: &Value) -> Value {
        let flat = self.reshape(x, &[x.shape.iter().product()]);
        self.node(op, &[&flat], x.kind, vec![1], &[("keepdims", Attribute::Int(1))])
    }

    /// The same numbers in another type.
    pub(super) fn cast(&mut self, x: &Value, kind: Kind) -> Value {
        if x.kind == kind {
            return x.clone();
        }
        self.node("Cast", &[x], kind, x.shape.clone(), &[("to", Attribute::Int(kind as i64))])
    }

    /// A convolution over a position and its two neighbours, those outside being zeros: `x` `[1, in, n]`, `w` `[out, in, 3]`.
    pub(super) fn convolution(&mut self, x: &Value, w: &Value, b: &Value, stride: usize) -> Value {
        let (&[one, features, n], &[out, inner, 3]) = (&x.shape[..], &w.shape[..]) else { panic!("{:?}", w.shape) };
        assert!(features == inner && x.kind == w.kind);
        let attributes = [
            ("kernel_shape", Attribute::Ints(vec![3])),
            ("pads", Attribute::Ints(vec![1, 1])),
            ("strides", Attribute::Ints(vec![stride as i64])),
        ];
        self.node("Conv", &[x, w, b], x.kind, vec![one, out, (n - 1) / stride + 1], &attributes)
    }

    /// Rounds to multiples of `scale`, in 16 bits from `-zero` on, and back.
    pub(super) fn round_trip(&mut self, x: &Value, scale: f32, zero: u16) -> Value {
        let (scale, zero) = (self.scalar(scale), self.scalar_u16(zero));
        let quantised = self.node("QuantizeLinear", &[x, &scale, &zero], Kind::U16, x.shape.clone(), &[]);
        self.node("DequantizeLinear", &[&quantised, &scale, &zero], Kind::F32, x.shape.clone(), &[])
    }

    /// 8 bits with a scale for each row -> float32.
    pub(super) fn dequantize_rows(&mut self, w: &Value, scales: &Value) -> Value {
        self.node("DequantizeLinear", &[w, scales], Kind::F32, w.shape.clone(), &[("axis", Attribute::Int(0))])
    }
}

/// `ValueInfoProto`.
fn description(value: &Value) -> Vec<u8> {
    let mut shape = Vec::new();
    for &dim in &value.shape {
        let mut dimension = Vec::new();
        number(&mut dimension, 1, dim as u64);
        bytes(&mut shape, 1, &dimension);
    }
    let mut tensor = Vec::new();
    number(&mut tensor, 1, value.kind as u64);
    bytes(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    bytes(&mut kind, 1, &tensor);
    let mut description = Vec::new();
    text(&mut description, 1, &value.name);
    bytes(&mut description, 2, &kind);
    description
}

/// The beginning of a `TensorProto`.
fn tensor(value: &Value) -> Vec<u8> {
    let mut tensor = Vec::new();
    value.shape.iter().for_each(|&dim| number(&mut tensor, 1, dim as u64));
    number(&mut tensor, 2, value.kind as u64);
    text(&mut tensor, 8, &value.name);
    tensor
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn tag(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, 0);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    tag(out, field, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn text(out: &mut Vec<u8>, field: u64, value: &str) {
    bytes(out, field, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the protocol buffers' own documentation has them.
    #[test]
    fn fields_are_written_as_the_format_says() {
        let mut out = Vec::new();
        number(&mut out, 1, 150);
        text(&mut out, 2, "testing");
        number(&mut out, 20, u64::MAX);
        let ones = [0xff; 9];
        let expected = [&[0x08, 0x96, 0x01, 0x12, 0x07][..], b"testing", &[0xa0, 0x01], &ones, &[0x01]].concat();
        assert_eq!(out, expected);
    }

    #[test]
    #[should_panic(expected = "Add of [2, 3] and [2, 4]")]
    fn what_does_not_fit_is_found_where_it_is_made() {
        let mut graph = Graph::default();
        let (a, b) = (graph.input("a", &[2, 3]), graph.input("b", &[2, 4]));
        graph.binary("Add", &a, &b);
    }

    #[test]
    fn large_tensors_begin_at_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let mut data = Data::new(File::create(&path).unwrap(), "data");
        let first = data.add([vec![1; 3], vec![2; 2]].into_iter()).unwrap();
        let second = data.add(std::iter::once(vec![3; 4])).unwrap();
        data.finish().unwrap();
        assert_eq!((first.offset, first.length, second.offset, second.length), (0, 5, 64, 4));
        let found = std::fs::read(path).unwrap();
        assert_eq!((found.len(), &found[..5], &found[64..]), (68, &[1, 1, 1, 2, 2][..], &[3; 4][..]));
    }
}
