//! A language model with float weights, a GGUF file or a Hugging Face folder -> a GGUF file of quantised weights, which
//! llama.cpp reads too. A file's metadata are kept as they are, but for the two keys that describe the quantisation and
//! those of a file in parts.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use babil_runtime::weights::gguf::{Array, FromValue, Metadata, TensorHeader, Value, Writer, alignment};
use babil_runtime::weights::{Encoding, Tensor, Weights};
use babil_runtime::{Error, Result};

use super::mix::{Facts, Mix, order};
use super::write_whole;
use crate::families::{AsGguf, to_gguf};

/// The version of the block formats, `general.quantization_version`.
const QUANTIZATION_VERSION: u32 = 2;

/// Weights that one thread quantises between two writes.
const SLAB: usize = 1 << 20;

/// How to quantise.
#[derive(Debug)]
pub struct Options<'a> {
    /// The types of the tensors.
    pub mix: &'a Mix,
    /// Whether a file that exists is replaced.
    pub force: bool,
    /// How many threads compute.
    pub threads: usize,
}

/// How far a quantisation is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor that is being written.
    pub tensor: &'a str,
    /// Bytes of the source that are done.
    pub done: u64,
    /// Bytes of the source.
    pub total: u64,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// How many tensors there are of each type.
    pub tensors: BTreeMap<String, usize>,
}

/// Writes the language model in `from` (a GGUF file, or a folder with `config.json`) to the file `to`. `progress` is
/// called now and then, and can end it.
///
/// # Errors
/// `from` is no language model, cannot be read, is a folder that says what GGUF files cannot say, or holds what cannot be quantised (weights that are quantised already, values
/// that are not finite, experts); `to` exists or cannot be written; `progress` asks to stop. Then `to` is not touched.
pub fn quantize_gguf(
    from: &Path,
    to: &Path,
    options: &Options<'_>,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Written> {
    let AsGguf { weights, turned } = match from.is_dir() {
        true => to_gguf(from)?,
        false => AsGguf { weights: Weights::open(from)?, turned: BTreeMap::new() },
    };
    let bad_file = |problem: &str| Error::bad_file(from.display().to_string(), problem);
    let metadata = weights.gguf_metadata().ok_or_else(|| bad_file("is not a GGUF file"))?;
    if let Some(other) = metadata.other_tensors().first() {
        return Err(weights.bad(&other.name, format!("its type is {}, which is not supported here", other.kind)));
    }
    let mut tensors: Vec<(&str, &Tensor)> = weights.iter().collect();
    tensors.sort_by_key(|(name, _)| order(name));
    let facts = facts(metadata)?;
    let described = tensors.iter().map(|(name, tensor)| (*name, tensor.shape(), tensor.encoding()));
    let encodings = options.mix.assign(described, facts);
    let header = |((name, tensor), encoding): (&(&str, &Tensor), &Encoding)| TensorHeader {
        name: (*name).to_owned(),
        encoding: *encoding,
        shape: tensor.shape().to_vec(),
    };
    let headers: Vec<TensorHeader> = tensors.iter().zip(&encodings).map(header).collect();
    for ((name, tensor), encoding) in tensors.iter().zip(&encodings) {
        if tensor.encoding() != *encoding && matches!(tensor.encoding(), Encoding::Blocks(_)) {
            let problem = format!("is {} already; quantise the float file", tensor.encoding());
            return Err(weights.bad(name, problem));
        }
    }
    let entries = entries(metadata, options.mix);
    let alignment = alignment(metadata)?;
    let total = tensors.iter().map(|(_, tensor)| tensor.bytes().len() as u64).sum();
    let bytes = write_whole(to, options.force, |file| {
        let failed = |error| Error::io("write", to, error);
        let mut writer = Writer::new(BufWriter::new(file), &entries, &headers, alignment).map_err(failed)?;
        let mut done = 0;
        for ((name, tensor), encoding) in tensors.iter().zip(&encodings) {
            let mut report = |bytes: usize| {
                let progress = progress(Progress { tensor: name, done: done + bytes as u64, total });
                if progress.is_break() { Err(Error::Cancelled) } else { Ok(()) }
            };
            let mut write = |bytes: &[u8]| writer.write(bytes).map_err(failed);
            let turned = turned.get(*name);
            if tensor.encoding() == *encoding && turned.is_none() {
                report(0)?;
                write(tensor.bytes())?;
            } else {
                let bad = |problem| weights.bad(name, problem);
                let source = |row| turned.map_or(row, |turned| turned.source(row));
                encode(tensor, &source, *encoding, options.threads, &bad, &mut report, &mut write)?;
            }
            done += tensor.bytes().len() as u64;
        }
        writer.finish().map(drop).map_err(failed)
    })?;
    let mut counts = BTreeMap::new();
    for encoding in encodings {
        *counts.entry(encoding.to_string()).or_default() += 1;
    }
    Ok(Written { bytes, tensors: counts })
}

/// Encodes a float tensor, a few rows at a time on each thread. `source` tells which of its rows comes where.
fn encode(
    tensor: &Tensor,
    source: &(dyn Fn(usize) -> usize + Sync),
    encoding: Encoding,
    threads: usize,
    bad: &(dyn Fn(String) -> Error + Sync),
    report: &mut dyn FnMut(usize) -> Result<()>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let columns = *tensor.shape().last().expect("a matrix");
    let rows = tensor.shape().iter().product::<usize>() / columns;
    let row_bytes = encoding.byte_len(&[columns]).expect("rows of whole blocks");
    let share = (SLAB / columns).max(1);
    let threads = threads.clamp(1, rows.div_ceil(share));
    let mut out = vec![0; threads * share * row_bytes];
    for first in (0..rows).step_by(threads * share) {
        report(tensor.bytes().len() / rows * first)?;
        let out = &mut out[..(threads * share).min(rows - first) * row_bytes];
        let encode_share = |(index, out): (usize, &mut [u8])| {
            let mut values = vec![0.0; columns];
            for (row, out) in out.chunks_exact_mut(row_bytes).enumerate() {
                let row = source(first + index * share + row);
                tensor.rows_to_f32(row, &mut values).expect("a float tensor");
                check(&values, encoding).map_err(|problem| bad(format!("row {row}, {problem}")))?;
                encoding.encode_row(&values, out);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let shares = out.chunks_mut(share * row_bytes).enumerate();
            let workers: Vec<_> = shares.map(|share| scope.spawn(move || encode_share(share))).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("no panic in it"))
        })?;
        write(out)?;
    }
    Ok(())
}

/// Refuses what a block's scale cannot hold.
fn check(values: &[f32], encoding: Encoding) -> std::result::Result<(), String> {
    /// The largest float16.
    const HALF_MAX: f32 = 65504.0;
    let most = if matches!(encoding, Encoding::F32 | Encoding::Bf16) { f32::MAX } else { HALF_MAX };
    match values.iter().position(|v| v.is_nan() || v.abs() > most) {
        Some(column) => Err(format!("column {column} holds {}, which {encoding} cannot", values[column])),
        None => Ok(()),
    }
}

/// What the mixes need to know.
fn facts(metadata: &Metadata) -> Result<Facts> {
    let architecture: &str = metadata.expect("general.architecture")?;
    let key = |name: &str| format!("{architecture}.{name}");
    if metadata.find::<u32>(&key("expert_count"))?.unwrap_or(0) > 1 {
        return Err(Error::Unsupported(format!("quantising a mixture of experts ({})", key("expert_count"))));
    }
    let heads = first(metadata, &key("attention.head_count"))?.unwrap_or(0);
    let kv_heads = first(metadata, &key("attention.head_count_kv"))?.unwrap_or(heads);
    let group = heads.checked_div(kv_heads).unwrap_or(0) as usize;
    Ok(Facts { layers: metadata.find(&key("block_count"))?.unwrap_or(0), group })
}

/// A number, or the first of an array: that of the first layer.
fn first(metadata: &Metadata, key: &str) -> Result<Option<u32>> {
    match metadata.get(key) {
        Some(Value::Array(array)) => Ok(first_of(array)),
        _ => metadata.find(key),
    }
}

fn first_of(array: Array<'_>) -> Option<u32> {
    array.iter().next().and_then(u32::from_value)
}

/// The metadata of the new file.
fn entries<'m>(metadata: &'m Metadata, mix: &Mix) -> Vec<(&'m str, Value<'m>)> {
    let set = [
        ("general.quantization_version", Value::U32(QUANTIZATION_VERSION)),
        ("general.file_type", Value::U32(mix.file_type)),
    ];
    let is_set = |key: &str| set.iter().any(|entry| entry.0 == key);
    let mut entries: Vec<_> = metadata.iter().filter(|(key, _)| !key.starts_with("split.") && !is_set(key)).collect();
    entries.extend(set);
    entries
}
