//! What tells a model's weights from any others: their SHA-256. That of a file is remembered for as long as it has its name,
//! size and time, because reading gigabytes takes seconds.

use babil_runtime::accelerator::Remembered;
use babil_runtime::weights::Weights;
use sha2::{Digest, Sha256};

/// The SHA-256 of the bytes that `weights` are in, hexadecimal; of several files, that of theirs.
pub(crate) fn fingerprint(weights: &Weights, known: &Remembered<String>) -> String {
    let sources = weights.sources();
    let hashes = sources.into_iter().map(|(stamp, bytes)| {
        if let Some(hash) = stamp.as_deref().and_then(|stamp| known.get(stamp)) {
            return hash;
        }
        let hash = sha256(bytes);
        if let Some(stamp) = stamp {
            known.put(stamp, hash.clone());
        }
        hash
    });
    let hashes: Vec<_> = hashes.collect();
    match &hashes[..] {
        [hash] => hash.clone(),
        hashes => sha256(hashes.concat().as_bytes()),
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use babil_runtime::weights::{Content, Encoding, TensorToWrite, write_safetensors};

    use super::*;

    /// A file of one tensor.
    fn file(value: f32) -> Vec<u8> {
        let content: Content<'_> = Box::new(move |out| out.write_all(&value.to_le_bytes().repeat(4)));
        let tensor = TensorToWrite { name: "w".to_owned(), encoding: Encoding::F32, shape: vec![4], content };
        let mut bytes = Vec::new();
        write_safetensors(&mut bytes, &[tensor], &BTreeMap::new()).unwrap();
        bytes
    }

    fn of_file(path: &Path, known: &Remembered<String>) -> String {
        fingerprint(&Weights::open(path).unwrap(), known)
    }

    #[test]
    fn a_file_is_hashed_once_and_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, answers) = (folder.path().join("model.safetensors"), folder.path().join("models.json"));
        let known = || Remembered::at(answers.clone());
        fs::write(&path, file(1.0)).unwrap();
        assert_eq!(of_file(&path, &known()), sha256(&file(1.0)));
        // It is not read again: a false answer is believed.
        let told = fs::read_to_string(&answers).unwrap();
        fs::write(&answers, told.replace(&sha256(&file(1.0)), "false")).unwrap();
        assert_eq!(of_file(&path, &known()), "false");
        fs::write(&path, file(2.0)).unwrap();
        let later = SystemTime::now() + Duration::from_secs(10);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(of_file(&path, &known()), sha256(&file(2.0)), "of the same name and size");
    }

    /// The bundled model has no time: another one of the same shapes is another one.
    #[test]
    fn what_is_in_memory_is_always_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let answers = folder.path().join("models.json");
        let found = [1.0, 2.0].map(|value| {
            let weights = Weights::from_static(file(value).leak(), "bundled").unwrap();
            fingerprint(&weights, &Remembered::at(answers.clone()))
        });
        assert_eq!(found, [1.0, 2.0].map(|value| sha256(&file(value))));
        assert!(!answers.exists());
    }
}
