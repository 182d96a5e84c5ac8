//! Subgraphs of a plan as ONNX: the arithmetic of `layer.rs`, `encoder.rs` and `decoder.rs` once more, as operators.
//!
//! The residual stream and norms are float32 in every precision. In float16, linear maps and the products of attention are
//! float16. In 8 bits, the weights of linear maps are 8 bits with a scale for each row, and what they are multiplied with is
//! 16 bits in a range that was measured before.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::onnx::{Data, External, Graph, Kind, Value};
use crate::accelerator::{Precision, Subgraph, growths, spans};
use crate::layer::{Attention, Layer, Mixer, Norms};
use crate::ops::{Heads, Linear, Matrix, Norm};
use crate::plan::{EncoderDecoderPlan, EncoderInput};
use crate::spec::{Activation, HeadNorm, LayerSpec, Mixer as MixerSpec, Pairing};
use crate::weights::Encoding;
use crate::{Error, Result};

/// Constants of fewer bytes are in the model itself.
const SMALL: usize = 1024;
/// Ranges are this much wider than what was measured: 16 bits have room for that.
const MARGIN: f32 = 4.0;

/// The smallest and the largest number that goes into each linear map, in the order of the maps.
pub(super) type Ranges = Vec<[f32; 2]>;

/// What a graph is to do besides.
pub(super) enum Calibration<'a> {
    /// Nothing.
    None,
    /// Its numbers are float32, and it says the ranges of what goes into linear maps, as outputs after the others.
    Measure,
    /// 8 bits, in these ranges.
    Ranges(&'a Ranges),
}

/// Writes `subgraph` to `folder` as `model.onnx` and what lies beside it. Returns how many ranges are outputs.
pub(super) fn write(
    subgraph: &Subgraph,
    precision: Precision,
    calibration: &Calibration<'_>,
    folder: &Path,
) -> Result<usize> {
    let data_path = folder.join("weights.bin");
    let file = File::create(&data_path).map_err(|e| Error::io("write", &data_path, e))?;
    let mut builder = Builder {
        graph: Graph::default(),
        precision,
        calibration,
        folder,
        data: Data::new(file, "weights.bin"),
        linked: HashMap::new(),
        rounded: HashMap::new(),
        points: 0,
        measured: Vec::new(),
    };
    let inputs = subgraph.inputs();
    let values: Vec<Value> = inputs.iter().map(|slot| builder.graph.input(&slot.name, &slot.shape)).collect();
    let outputs = match subgraph {
        Subgraph::Encoder { plan, positions } => builder.encoder(plan, *positions, &values)?,
        Subgraph::Prefill { .. } => builder.prefill(subgraph, &values)?,
    };
    for (slot, value) in subgraph.outputs().iter().zip(&outputs) {
        assert_eq!(slot.shape, value.shape, "the shape of `{}`", slot.name);
        builder.graph.output(&slot.name, value);
    }
    let measured = std::mem::take(&mut builder.measured);
    for (i, [least, most]) in measured.iter().enumerate() {
        builder.graph.output(&format!("least.{i}"), least);
        builder.graph.output(&format!("most.{i}"), most);
    }
    let Builder { graph, data, .. } = builder;
    data.finish().map_err(|e| Error::io("write", &data_path, e))?;
    let path = folder.join("model.onnx");
    fs::write(&path, graph.finish(&subgraph.shape().to_string())).map_err(|e| Error::io("write", &path, e))?;
    Ok(measured.len())
}

struct Builder<'a> {
    graph: Graph,
    precision: Precision,
    calibration: &'a Calibration<'a>,
    folder: &'a Path,
    data: Data,
    /// Weight files that have a name in the folder, or could not get one.
    linked: HashMap<PathBuf, Option<String>>,
    /// Inputs of linear maps that are rounded already, or measured.
    rounded: HashMap<String, Value>,
    points: usize,
    measured: Vec<[Value; 2]>,
}

impl Builder<'_> {
    /// Whether products are float16.
    fn half(&self) -> bool {
        self.precision == Precision::F16 && !matches!(self.calibration, Calibration::Measure)
    }

    fn encoder(&mut self, plan: &EncoderDecoderPlan, positions: usize, inputs: &[Value]) -> Result<Vec<Value>> {
        let spec = &plan.spec().encoder;
        let (mut x, seen) = match (&plan.encoder.input, inputs) {
            (EncoderInput::Frames(stem), [frames, sound, seen]) => {
                let [one, two] = &stem.convolutions;
                let frames = self.graph.reshape(frames, &[1, frames.shape[0], frames.shape[1]]);
                let first = self.convolution(&frames, one, 1)?;
                // What lies beyond the sound is zero for the second convolution, too.
                let first = self.graph.binary("Mul", &first, sound);
                let second = self.convolution(&first, two, 2)?;
                let rows = self.graph.transpose(&second, &[0, 2, 1]);
                let rows = self.graph.reshape(&rows, &[positions, spec.dim]);
                let rows = match &stem.positions[..] {
                    [] => rows,
                    table => {
                        let table = self.large_floats(&[positions, spec.dim], &table[..positions * spec.dim])?;
                        self.graph.binary("Add", &rows, &table)
                    }
                };
                (rows, seen)
            }
            (EncoderInput::Tokens(_), [rows, seen]) => (rows.clone(), seen),
            _ => unreachable!("as many inputs as `Subgraph::inputs` says"),
        };
        for layer in &plan.encoder.stack.layers {
            let surroundings = Surroundings { seen, rotation: None, growth: None, past: None };
            (x, _) = self.layer(layer, &x, &surroundings)?;
        }
        if let Some(norm) = &plan.encoder.stack.final_norm {
            x = self.norm(norm, &x);
        }
        let mut outputs = Vec::new();
        for (cross, _) in plan.decoder.stack.layers.iter().filter_map(|layer| layer.cross.as_ref()) {
            outputs.push(self.linear(&x, &cross.key)?);
            outputs.push(self.linear(&x, &cross.value)?);
        }
        Ok(outputs)
    }

    fn prefill(&mut self, subgraph: &Subgraph, inputs: &[Value]) -> Result<Vec<Value>> {
        let Subgraph::Prefill { plan, past, .. } = subgraph else { unreachable!("the caller's case") };
        let specs = &plan.spec().stack.layers;
        let (spans, growths) = (spans(specs), growths(specs));
        let mut rest = inputs.iter();
        let mut take = |count: usize| -> Vec<&Value> { rest.by_ref().take(count).collect() };
        let mut x = take(1)[0].clone();
        let seen = take(spans.len());
        let rotations = take(2 * plan.parts.stack.ropes.len());
        let growth_values = take(growths.len());
        let pasts = take(if *past > 0 { 2 * specs.len() } else { 0 });
        let mut caches = Vec::new();
        for (i, (layer, spec)) in plan.parts.stack.layers.iter().zip(specs).enumerate() {
            let LayerSpec { mixer: MixerSpec::Attention(attention), .. } = spec else {
                return Err(Error::Unsupported("short convolutions on an accelerator".to_owned()));
            };
            let Mixer::Attention(own) = &layer.mixer else { unreachable!("as its description says") };
            let place = spans.iter().position(|span| *span == attention.span).expect("one of its kinds");
            let growth = attention.growth.and_then(|growth| growths.iter().position(|known| *known == growth));
            let surroundings = Surroundings {
                seen: seen[place],
                rotation: own.rope.map(|rope| Rotation {
                    cos: rotations[2 * rope],
                    sin: rotations[2 * rope + 1],
                    pairing: plan.parts.stack.ropes[rope].spec().pairing,
                }),
                growth: growth.map(|growth| growth_values[growth]),
                past: pasts.get(2 * i..2 * i + 2).map(|past| [past[0], past[1]]),
            };
            let [keys, values];
            (x, [keys, values]) = self.layer(layer, &x, &surroundings)?;
            caches.extend([keys, values]);
        }
        Ok([x].into_iter().chain(caches).collect())
    }

    /// The stream after the layer, and the keys and values of its rows.
    fn layer(&mut self, layer: &Layer, x: &Value, surroundings: &Surroundings<'_>) -> Result<(Value, [Value; 2])> {
        let Mixer::Attention(attention) = &layer.mixer else {
            return Err(Error::Unsupported("short convolutions on an accelerator".to_owned()));
        };
        let input = self.before(&layer.mixer_norms, x);
        let (output, cache) = self.attention(attention, &input, surroundings)?;
        let x = self.after(layer, &layer.mixer_norms, x, output);
        let input = self.before(&layer.ffn_norms, &x);
        let ffn = &layer.ffn;
        let mut hidden = self.linear(&input, &ffn.up)?;
        match &ffn.gate {
            Some(gate) => {
                let gate = self.linear(&input, gate)?;
                let gate = self.activation(ffn.activation, &gate);
                hidden = self.graph.binary("Mul", &gate, &hidden);
            }
            None => hidden = self.activation(ffn.activation, &hidden),
        }
        if let Some(norm) = &ffn.sub_norm {
            hidden = self.norm(norm, &hidden);
        }
        let output = self.linear(&hidden, &ffn.down)?;
        Ok((self.after(layer, &layer.ffn_norms, &x, output), cache))
    }

    /// A sublayer's input.
    fn before(&mut self, norms: &Norms, x: &Value) -> Value {
        match norms {
            Norms::Post(_) => x.clone(),
            Norms::Pre(norm) | Norms::Both(norm, _) => self.norm(norm, x),
        }
    }

    /// The stream with a sublayer's output.
    fn after(&mut self, layer: &Layer, norms: &Norms, x: &Value, mut output: Value) -> Value {
        if let Norms::Both(_, after) = norms {
            output = self.norm(after, &output);
        }
        if layer.residual_scale != 1.0 {
            let scale = self.graph.scalar(layer.residual_scale);
            output = self.graph.binary("Mul", &output, &scale);
        }
        let sum = self.graph.binary("Add", x, &output);
        match norms {
            Norms::Post(norm) => self.norm(norm, &sum),
            Norms::Pre(_) | Norms::Both(..) => sum,
        }
    }

    fn attention(
        &mut self,
        attention: &Attention,
        input: &Value,
        surroundings: &Surroundings<'_>,
    ) -> Result<(Value, [Value; 2])> {
        let Heads { count, kv, dim, scale, softcap } = attention.heads;
        let rows = input.shape[0];
        let [q, k, v] = [&attention.query, &attention.key, &attention.value];
        let [q, k, v] = [self.linear(input, q)?, self.linear(input, k)?, self.linear(input, v)?];
        let mut q = self.graph.reshape(&q, &[rows, count, dim]);
        let mut k = self.graph.reshape(&k, &[rows, kv, dim]);
        let norm_heads = |builder: &mut Self, place: HeadNorm, q: &mut Value, k: &mut Value| {
            if let Some((_, [query, key])) = attention.head_norm.as_ref().filter(|(at, _)| *at == place) {
                (*q, *k) = (builder.norm(query, q), builder.norm(key, k));
            }
        };
        norm_heads(self, HeadNorm::BeforeRope, &mut q, &mut k);
        if let Some(rotation) = &surroundings.rotation {
            (q, k) = (self.rotate(rotation, &q), self.rotate(rotation, &k));
        }
        norm_heads(self, HeadNorm::AfterRope, &mut q, &mut k);
        if let Some(growth) = surroundings.growth {
            let growth = self.graph.reshape(growth, &[rows, 1, 1]);
            q = self.graph.binary("Mul", &q, &growth);
        }
        let k = self.graph.reshape(&k, &[rows, kv * dim]);
        let cache = [k.clone(), v.clone()];
        let [keys, values] = match surroundings.past {
            None => [k, v],
            Some([keys, values]) => [self.graph.concat(0, &[keys, &k]), self.graph.concat(0, &[values, &v])],
        };
        let all = keys.shape[0];
        // Heads that read the same keys go through them together: [kv, group * rows, dim].
        let group = count / kv;
        let q = self.graph.reshape(&q, &[rows, kv, group, dim]);
        let q = self.graph.transpose(&q, &[1, 2, 0, 3]);
        let q = self.graph.reshape(&q, &[kv, group * rows, dim]);
        let scale = self.graph.scalar(scale);
        let q = self.graph.binary("Mul", &q, &scale);
        let [keys, values] = [keys, values].map(|x| self.graph.reshape(&x, &[all, kv, dim]));
        let keys = self.graph.transpose(&keys, &[1, 2, 0]);
        let values = self.graph.transpose(&values, &[1, 0, 2]);
        let mut scores = self.product(&q, &keys);
        if let Some(cap) = softcap {
            let cap = self.graph.scalar(cap);
            scores = self.graph.binary("Div", &scores, &cap);
            scores = self.graph.unary("Tanh", &scores);
            scores = self.graph.binary("Mul", &scores, &cap);
        }
        let scores = self.graph.reshape(&scores, &[kv, group, rows, all]);
        let scores = self.graph.binary("Add", &scores, surroundings.seen);
        let weights = self.graph.softmax(&scores);
        let weights = self.graph.reshape(&weights, &[kv, group * rows, all]);
        let attended = self.product(&weights, &values);
        let attended = self.graph.reshape(&attended, &[kv, group, rows, dim]);
        let attended = self.graph.transpose(&attended, &[2, 0, 1, 3]);
        let mut attended = self.graph.reshape(&attended, &[rows, count * dim]);
        if let Some(norm) = &attention.sub_norm {
            attended = self.norm(norm, &attended);
        }
        Ok((self.linear(&attended, &attention.output)?, cache))
    }

    /// Turns pairs of features of heads, `[rows, heads, dim]`.
    fn rotate(&mut self, rotation: &Rotation<'_>, x: &Value) -> Value {
        let &[rows, heads, dim] = &x.shape[..] else { unreachable!("heads") };
        let pairs = rotation.cos.shape[1];
        let [cos, sin] = [rotation.cos, rotation.sin].map(|table| self.graph.reshape(table, &[rows, 1, pairs]));
        let rotated = self.graph.slice(x, 2, 0, 2 * pairs);
        let [low, high] = match rotation.pairing {
            Pairing::Halves => [0, pairs].map(|start| self.graph.slice(&rotated, 2, start, start + pairs)),
            Pairing::Interleaved => {
                let split = self.graph.reshape(&rotated, &[rows, heads, pairs, 2]);
                [0, 1].map(|i| {
                    let one = self.graph.slice(&split, 3, i, i + 1);
                    self.graph.reshape(&one, &[rows, heads, pairs])
                })
            }
        };
        let mut turn = |op: &str, a: &Value, b: &Value| {
            let (a, b) = (self.graph.binary("Mul", a, &cos), self.graph.binary("Mul", b, &sin));
            self.graph.binary(op, &a, &b)
        };
        let (low, high) = (turn("Sub", &low, &high), turn("Add", &high, &low));
        let rotated = match rotation.pairing {
            Pairing::Halves => self.graph.concat(2, &[&low, &high]),
            Pairing::Interleaved => {
                let [low, high] = [low, high].map(|x| self.graph.reshape(&x, &[rows, heads, pairs, 1]));
                let both = self.graph.concat(3, &[&low, &high]);
                self.graph.reshape(&both, &[rows, heads, 2 * pairs])
            }
        };
        if 2 * pairs == dim {
            return rotated;
        }
        let rest = self.graph.slice(x, 2, 2 * pairs, dim);
        self.graph.concat(2, &[&rotated, &rest])
    }

    /// A product of two computed matrices, float32 in and out.
    fn product(&mut self, a: &Value, b: &Value) -> Value {
        if !self.half() {
            return self.graph.matmul(a, b);
        }
        let (a, b) = (self.graph.cast(a, Kind::F16), self.graph.cast(b, Kind::F16));
        let product = self.graph.matmul(&a, &b);
        self.graph.cast(&product, Kind::F32)
    }

    fn activation(&mut self, activation: Activation, x: &Value) -> Value {
        match activation {
            Activation::Relu => self.graph.unary("Relu", x),
            Activation::ReluSquared => {
                let x = self.graph.unary("Relu", x);
                self.graph.binary("Mul", &x, &x)
            }
            Activation::Silu => {
                let sigmoid = self.graph.unary("Sigmoid", x);
                self.graph.binary("Mul", x, &sigmoid)
            }
            Activation::Gelu => self.graph.gelu(x, false),
            Activation::GeluTanh => self.graph.gelu(x, true),
        }
    }

    /// Along the last dimension.
    fn norm(&mut self, norm: &Norm, x: &Value) -> Value {
        match norm {
            Norm::Layer { weight, bias, eps } => {
                let (weight, bias) =
                    (self.graph.floats(&[weight.len()], weight), self.graph.floats(&[bias.len()], bias));
                self.graph.layer_norm(x, &weight, &bias, *eps)
            }
            Norm::Rms { weight, eps } => {
                let square = self.graph.binary("Mul", x, x);
                let mean = self.graph.mean(&square);
                let eps = self.graph.scalar(*eps);
                let mean = self.graph.binary("Add", &mean, &eps);
                let root = self.graph.unary("Sqrt", &mean);
                let x = self.graph.binary("Div", x, &root);
                let weight = self.graph.floats(&[weight.len()], weight);
                self.graph.binary("Mul", &x, &weight)
            }
        }
    }

    /// `gelu(conv(x))`, `[1, out, positions]`.
    fn convolution(&mut self, x: &Value, map: &Linear, stride: usize) -> Result<Value> {
        let (out, joined) = (map.weight.rows(), map.weight.cols());
        let kind = if self.half() { Kind::F16 } else { Kind::F32 };
        let w = self.matrix(&map.weight, kind, &[out, joined / 3, 3])?;
        let none = vec![0.0; out];
        let b = self.small(kind, map.bias.as_deref().unwrap_or(&none));
        let x = self.graph.cast(x, kind);
        let x = self.graph.convolution(&x, &w, &b, stride);
        let x = self.graph.cast(&x, Kind::F32);
        Ok(self.graph.gelu(&x, false))
    }

    /// A linear map of the rows of `x`, float32 in and out.
    fn linear(&mut self, x: &Value, map: &Linear) -> Result<Value> {
        let (rows, cols) = (map.weight.rows(), map.weight.cols());
        let alpha = map.scale.unwrap_or(1.0);
        let kind = if self.half() { Kind::F16 } else { Kind::F32 };
        let b = map.bias.as_deref().map(|bias| self.small(kind, bias));
        let x = match self.calibration {
            Calibration::None => self.graph.cast(x, kind),
            Calibration::Measure => {
                if !self.rounded.contains_key(&x.name) {
                    let ends = ["ReduceMin", "ReduceMax"].map(|op| self.graph.extreme(op, x));
                    self.measured.push(ends);
                    self.rounded.insert(x.name.clone(), x.clone());
                }
                x.clone()
            }
            Calibration::Ranges(ranges) => match self.rounded.get(&x.name) {
                Some(rounded) => rounded.clone(),
                None => {
                    let range = ranges.get(self.points).copied().unwrap_or_default();
                    self.points += 1;
                    let (scale, zero) = steps(range);
                    let rounded = self.graph.round_trip(x, scale, zero);
                    self.rounded.insert(x.name.clone(), rounded.clone());
                    rounded
                }
            },
        };
        let w = match self.calibration {
            Calibration::Ranges(_) => self.matrix_of_bytes(&map.weight)?,
            _ => self.matrix(&map.weight, kind, &[rows, cols])?,
        };
        let y = self.graph.linear(&x, &w, b.as_ref(), alpha);
        Ok(self.graph.cast(&y, Kind::F32))
    }

    /// A vector.
    fn small(&mut self, kind: Kind, values: &[f32]) -> Value {
        match kind {
            Kind::F16 => self.graph.halves(&[values.len()], values),
            _ => self.graph.floats(&[values.len()], values),
        }
    }

    fn large_floats(&mut self, shape: &[usize], values: &[f32]) -> Result<Value> {
        if 4 * values.len() < SMALL {
            return Ok(self.graph.floats(shape, values));
        }
        let pieces = values.chunks(1 << 16).map(|part| part.iter().flat_map(|v| v.to_le_bytes()).collect());
        let place = self.data.add(pieces).map_err(|e| self.cannot_write(e))?;
        Ok(self.graph.external(Kind::F32, shape, &place))
    }

    /// A matrix as numbers of `kind`: as it lies in its own file, where that has them, or else as a copy.
    fn matrix(&mut self, matrix: &Matrix, kind: Kind, shape: &[usize]) -> Result<Value> {
        if let Some(place) = self.in_its_own_file(matrix, kind) {
            return Ok(self.graph.external(kind, shape, &place));
        }
        let mut row = vec![0.0; matrix.cols()];
        let rows = (0..matrix.rows()).map(|i| {
            matrix.row(i, &mut row);
            match kind {
                Kind::F16 => row.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
                _ => row.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>(),
            }
        });
        let place = self.data.add(rows).map_err(|e| self.cannot_write(e))?;
        Ok(self.graph.external(kind, shape, &place))
    }

    /// A matrix in 8 bits with a scale for each row, as float32 again.
    fn matrix_of_bytes(&mut self, matrix: &Matrix) -> Result<Value> {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let (mut row, mut scales) = (vec![0.0f32; cols], Vec::with_capacity(rows));
        let codes = (0..rows).map(|i| {
            matrix.row(i, &mut row);
            let most = row.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            let scale = if most > 0.0 { most / 127.0 } else { 1.0 };
            scales.push(scale);
            row.iter().map(|v| (v / scale).round() as i8 as u8).collect()
        });
        let place = self.data.add(codes).map_err(|e| self.cannot_write(e))?;
        let codes = self.graph.external(Kind::I8, &[rows, cols], &place);
        let scales = self.graph.floats(&[rows], &scales);
        Ok(self.graph.dequantize_rows(&codes, &scales))
    }

    /// Where a matrix lies that can be read from the model's own file: its folder gets a second name for that file, because a
    /// model may only refer to files beside it.
    fn in_its_own_file(&mut self, matrix: &Matrix, kind: Kind) -> Option<External> {
        let fits =
            matches!((matrix.tensor().encoding(), kind), (Encoding::F32, Kind::F32) | (Encoding::F16, Kind::F16));
        let (path, offset, length) = matrix.tensor().place().filter(|_| fits && cfg!(target_endian = "little"))?;
        let count = self.linked.len();
        let file = self.linked.entry(path.clone()).or_insert_with(|| {
            let name = format!("model.{count}");
            fs::hard_link(path.canonicalize().ok()?, self.folder.join(&name)).ok()?;
            Some(name)
        });
        Some(External { file: file.clone()?, offset, length })
    }

    fn cannot_write(&self, error: std::io::Error) -> Error {
        Error::io("write", self.folder.join("weights.bin"), error)
    }
}

/// The step and the place of zero of 16 bits for numbers in `range`, with room around it.
fn steps([least, most]: [f32; 2]) -> (f32, u16) {
    let (least, most) = (MARGIN * least.min(0.0), MARGIN * most.max(0.0));
    let scale = (most - least) / f32::from(u16::MAX);
    if scale <= f32::MIN_POSITIVE || !scale.is_finite() {
        return (1.0, u16::MAX / 2);
    }
    (scale, (-least / scale).round() as u16)
}

/// What a layer finds around it.
struct Surroundings<'a> {
    /// Added to scores, `[1 or rows, positions]`.
    seen: &'a Value,
    rotation: Option<Rotation<'a>>,
    growth: Option<&'a Value>,
    /// Keys and values before its rows.
    past: Option<[&'a Value; 2]>,
}

struct Rotation<'a> {
    /// `[rows, pairs]`, as `sin`.
    cos: &'a Value,
    sin: &'a Value,
    pairing: Pairing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_step_of_every_range() {
        for range in [[-1.0, 3.0], [0.0, 8.0], [-5.0, 0.0], [2.0, 3.0], [-3.0, -2.0]] {
            let (scale, zero) = steps(range);
            let of = |x: f32| ((x / scale).round() + f32::from(zero)).clamp(0.0, 65535.0);
            for x in [range[0], range[1], 0.0] {
                let back = (of(x) - f32::from(zero)) * scale;
                assert!((back - x).abs() <= scale, "{x} of {range:?} is {back}");
            }
            assert_eq!((of(0.0) - f32::from(zero)) * scale, 0.0);
        }
        assert_eq!(steps([0.0, 0.0]).0, 1.0);
    }
}
