//! `pytorch_model.bin` -> `model.safetensors`, once: many older repositories hold the former only.
//!
//! torch's files are pickles, which are programs. The reader here knows the few instructions that describe tensors,
//! builds nothing else and calls nothing. It reads both formats of torch: the zip archive that [`torch.save`] has
//! written since version 1.6, and the plain sequence of pickles and data before that, which candle's reader refuses and
//! most opus-mt repositories hold.
//!
//! [`torch.save`]: https://docs.pytorch.org/docs/stable/notes/serialization.html

mod archive;
mod pickle;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use babil_runtime::weights::{Encoding, TensorToWrite, write_safetensors};
use babil_runtime::{Error, Result};
use sha2::{Digest, Sha256};

use self::archive::Archive;
use self::pickle::View;

/// Tensors of Marian files that are not weights: the position tables, which follow from the configuration.
pub const MARIAN_COMPUTED: [&str; 2] = ["model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"];

/// The safetensors version of `bin`, converted now if it does not exist yet: `model.safetensors` beside it or, where its
/// folder cannot be written to, a file in `cache` that is named after the path, size and time of `bin`.
///
/// # Errors
/// `bin` cannot be read or is not a torch file with tensors, or `cache` cannot be written to either.
pub fn safetensors_of(bin: &Path, computed: &[&str], cache: &Path) -> Result<PathBuf> {
    if let Some(converted) = converted(bin, cache)? {
        return Ok(converted);
    }
    let beside = beside(bin);
    let (target, draft) = match Draft::beside(&beside) {
        Ok(draft) => (beside, draft),
        Err(_) => {
            let target = cache.join(cache_name(bin)?);
            std::fs::create_dir_all(cache).map_err(|e| Error::io("create", cache, e))?;
            let draft = Draft::beside(&target).map_err(|e| Error::io("write", &target, e))?;
            (target, draft)
        }
    };
    tracing::info!(from = %bin.display(), to = %target.display(), "converting to safetensors");
    let mut out = BufWriter::new(&draft.file);
    pytorch_to_safetensors(bin, computed, &mut out)?;
    drop(out);
    draft.become_file(&target).map_err(|e| Error::io("write", &target, e))?;
    Ok(target)
}

fn beside(bin: &Path) -> PathBuf {
    bin.with_file_name("model.safetensors")
}

/// What [`safetensors_of`] has made of `bin` before, if it has.
///
/// # Errors
/// `bin` cannot be read.
pub fn converted(bin: &Path, cache: &Path) -> Result<Option<PathBuf>> {
    let places = [beside(bin), cache.join(cache_name(bin)?)];
    Ok(places.into_iter().find(|place| place.exists()))
}

/// Encoding and shape of the tensors that [`pytorch_to_safetensors`] would write, from the file's description alone.
///
/// # Errors
/// As [`pytorch_to_safetensors`], as far as the description tells.
pub fn torch_tensors(bin: &Path, computed: &[&str]) -> Result<Vec<(Encoding, Vec<usize>)>> {
    let views = weights_of(&Archive::open(bin)?, computed)?;
    Ok(views.into_iter().map(|(_, view, encoding)| (encoding, view.shape)).collect())
}

/// The float tensors of a torch file: all but those in `computed`, each datum once.
fn weights_of(archive: &Archive, computed: &[&str]) -> Result<Vec<(Rc<str>, View, Encoding)>> {
    let mut stored = HashSet::new();
    let mut views = Vec::new();
    for (name, view) in archive.tensors()? {
        if computed.contains(&&*name) || !stored.insert(view.clone()) {
            continue;
        }
        if let Some(encoding) = archive.check(&name, &view)? {
            views.push((name, view, encoding));
        }
    }
    if views.is_empty() {
        return Err(Error::bad_file(archive.label(), "holds no tensors by name"));
    }
    Ok(views)
}

/// Writes the float tensors of the torch file `bin` to `out` as safetensors, under their own names: all but those in
/// `computed`, and of tensors that are the same data under several names (tied embeddings) the first only. Types stay;
/// data starts at a multiple of 64 bytes.
///
/// # Errors
/// `bin` cannot be read, is not a torch file, is damaged, or holds tensors in a type that has no place in a model;
/// `out` cannot be written to.
pub fn pytorch_to_safetensors(bin: &Path, computed: &[&str], out: &mut impl Write) -> Result<()> {
    let archive = Archive::open(bin)?;
    let mut views = weights_of(&archive, computed)?;
    let archive = RefCell::new(archive);
    // Matrices first: their sizes keep what follows aligned.
    views.sort_by_key(|(_, view, _)| view.shape.len() < 2);
    let failure = RefCell::new(None);
    let tensors: Vec<_> = views
        .iter()
        .map(|(name, view, encoding)| TensorToWrite {
            name: name.to_string(),
            encoding: *encoding,
            shape: view.shape.clone(),
            content: Box::new(|out| match archive.borrow_mut().read(view) {
                Ok(bytes) => out.write_all(&bytes),
                Err(error) => {
                    let kind = error.kind();
                    failure.replace(Some(error));
                    Err(kind.into())
                }
            }),
        })
        .collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = write_safetensors(out, &tensors, &metadata);
    drop(tensors);
    match failure.into_inner() {
        Some(error) => Err(Error::io("read", bin, error)),
        None => written.map_err(|e| Error::io("write", "the converted weights", e)),
    }
}

/// A name that changes when the file does.
fn cache_name(bin: &Path) -> Result<String> {
    let path = bin.canonicalize().map_err(|e| Error::io("open", bin, e))?;
    let metadata = path.metadata().map_err(|e| Error::io("open", bin, e))?;
    let age = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let key = format!("{}\n{}\n{}", path.display(), metadata.len(), age.as_nanos());
    let digest = Sha256::digest(key.as_bytes());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{hex}.safetensors"))
}

/// A file being written, gone unless it is finished.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    /// In the folder of `target`, so that it can be renamed.
    fn beside(target: &Path) -> std::io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let path = target.with_file_name(name);
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// Makes the draft the whole of `target` at once; a crash leaves the old state or the new one.
    fn become_file(self, target: &Path) -> std::io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, target)?;
        if cfg!(unix) {
            // The rename itself lives in the folder.
            if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove.
        let _ = std::fs::remove_file(&self.path);
    }
}
