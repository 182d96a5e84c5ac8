//! A folder of float weights -> a folder of quantised ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use babil_runtime::plan::parameters;
use babil_runtime::quant::BlockType;
use babil_runtime::weights::{quantized, write_safetensors};
use babil_runtime::{Error, Result};

use crate::families::marian;
use crate::files::ModelFiles;
use crate::open;

/// Files of a translation model that are copied as they are.
const COMPANIONS: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "vocab.json",
    "target_vocab.json",
    "source.spm",
    "target.spm",
];

/// Writes the model in `from` to the folder `to` (made if it does not exist), its matrices quantised to `block`, and
/// returns the size of the new weights file in bytes.
///
/// # Errors
/// `from` is not a model this version can run, `to` cannot be written, or it already holds weights.
pub fn quantize_folder(from: &Path, to: &Path, block: BlockType) -> Result<u64> {
    let files = ModelFiles::Folder(from.to_owned());
    let config = open::config(&files)?;
    let names = marian::Names { shared: config.share_encoder_decoder_embeddings };
    let weights = files.weights()?;
    let parameters = parameters(&config.spec()?, &weights, &names);
    fs::create_dir_all(to).map_err(|e| Error::io("create", to, e))?;
    let path = to.join("model.safetensors");
    let file = File::create_new(&path).map_err(|e| Error::io("create", &path, e))?;
    let tensors = quantized(&weights, &parameters, block);
    let written = write_safetensors(&mut BufWriter::new(&file), &tensors, &BTreeMap::new());
    written.and_then(|()| file.sync_all()).map_err(|e| Error::io("write", &path, e))?;
    for name in COMPANIONS {
        if let Some(bytes) = files.read(name)? {
            fs::write(to.join(name), &bytes).map_err(|e| Error::io("write", to.join(name), e))?;
        }
    }
    Ok(file.metadata().map_err(|e| Error::io("read", &path, e))?.len())
}
