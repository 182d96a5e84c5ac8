//! Float weights -> quantised ones: a translation model's folder -> a folder; a language model, as a GGUF file or a
//! folder -> a GGUF file.

mod folder;
mod gguf;
mod mix;

use std::fs::File;
use std::io;
use std::path::Path;

use babil_runtime::{Error, Result};

use crate::files::ModelFiles;

pub use self::folder::quantize_folder;
pub use self::gguf::{Options, Progress, Written, quantize_gguf};
pub use self::mix::{MIXES, Mix};

/// Whether the model in `folder` is a translation model, for [`quantize_folder`]. [`quantize_gguf`] has the others.
///
/// # Errors
/// There is no config.json, or it cannot be read.
pub fn is_translation_model(folder: &Path) -> Result<bool> {
    let files = ModelFiles::Folder(folder.to_owned());
    let config: Option<serde_json::Value> = files.json("config.json")?;
    let missing = || Error::bad_file(files.label("config.json"), "does not exist: this is not the folder of a model");
    Ok(config.ok_or_else(missing)?["model_type"] == "marian")
}

/// Writes a file that has its name only when it is whole, and returns its size.
fn write_whole(path: &Path, force: bool, write: impl FnOnce(&File) -> Result<()>) -> Result<u64> {
    let failed = |error: io::Error| Error::io("write", path, error);
    if !force && path.exists() {
        return Err(Error::BadRequest(format!("{} exists already; --force overwrites it", path.display())));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder.metadata().map_err(|error| Error::io("write to", folder, error))?;
    let temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    write(temporary.as_file())?;
    temporary.as_file().sync_all().map_err(failed)?;
    let kept = if force { temporary.persist(path) } else { temporary.persist_noclobber(path) };
    let file = kept.map_err(|error| failed(error.error))?;
    let finish = || {
        let mut permissions = file.metadata()?.permissions();
        #[cfg(unix)]
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        file.set_permissions(permissions)?;
        Ok(file.metadata()?.len())
    };
    finish().map_err(failed)
}
