//! A folder of float weights -> a folder of quantised ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::path::Path;

use babil_runtime::plan::parameters;
use babil_runtime::quant::BlockType;
use babil_runtime::weights::{quantized, write_safetensors};
use babil_runtime::{Error, Result};

use super::write_whole;
use crate::families::marian;
use crate::files::ModelFiles;
use crate::open;

const WEIGHTS: &str = "model.safetensors";

/// Files of a translation model that are copied as they are.
const COMPANIONS: &[&str] = &[
    "README.md",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "target_vocab.json",
    "source.spm",
    "target.spm",
];

/// Writes the model in `from` to the folder `to` (made if it does not exist), its matrices quantised to `block`, and
/// returns the size of the new weights file in bytes. Weights that are there are replaced only with `force`.
///
/// # Errors
/// `from` is not a model this version can run, `to` cannot be written, or it already holds weights.
pub fn quantize_folder(from: &Path, to: &Path, block: BlockType, force: bool) -> Result<u64> {
    let files = ModelFiles::Folder(from.to_owned());
    let config = open::config(&files)?;
    let names = marian::Names { shared: config.share_encoder_decoder_embeddings };
    let weights = files.weights()?;
    let parameters = parameters(&config.spec()?, &weights, &names);
    fs::create_dir_all(to).map_err(|e| Error::io("create", to, e))?;
    let path = to.join(WEIGHTS);
    if !force && path.exists() {
        return Err(Error::BadRequest(format!("{} exists already; --force overwrites it", path.display())));
    }
    for name in COMPANIONS {
        if let Some(bytes) = files.read(name)? {
            fs::write(to.join(name), &bytes).map_err(|e| Error::io("write", to.join(name), e))?;
        }
    }
    // Weights last and whole: a folder with weights is a model.
    write_whole(&path, force, |file| {
        let tensors = quantized(&weights, &parameters, Some(block));
        write_safetensors(&mut BufWriter::new(file), &tensors, &BTreeMap::new())
            .map_err(|e| Error::io("write", &path, e))
    })
}
