//! Sessions on disk: a header, the tokens, and the model's state.
//!
//! `babil session 2\n`, then a u64 length and a line of JSON ([`Header`]), u32 tokens, the state's bytes. Little-endian.

use std::io::Write;
use std::path::Path;

use babil_runtime::weights::Weights;
use babil_runtime::{Error, Result, Token};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &[u8] = b"babil session 2\n";

#[derive(Serialize, Deserialize)]
struct Header {
    origin: Origin,
    tokens: usize,
    /// Tokens that the state has seen.
    position: usize,
    state_bytes: usize,
    notes: String,
    /// SHA-256 of tokens and state.
    check: String,
}

/// What a file holds.
pub(super) struct Saved {
    pub(super) tokens: Vec<Token>,
    /// Tokens that the state has seen.
    pub(super) position: usize,
    pub(super) state: Vec<u8>,
    /// The caller's own.
    pub(super) notes: String,
}

impl Saved {
    pub(super) fn new(tokens: &[Token], position: usize, state: Vec<u8>, notes: &str) -> Self {
        Self { tokens: tokens.to_vec(), position, state, notes: notes.to_owned() }
    }
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a session is of.
#[derive(Serialize, Deserialize)]
pub(super) struct Origin {
    /// The [`fingerprint`] of the model's tensors.
    weights: String,
    /// SHA-256 of what else a state depends on.
    description: String,
    /// Most tokens of a text: there are models that turn their positions otherwise when it is long.
    context: usize,
}

impl Origin {
    /// A session of the model with these `weights`, whose states depend on what `description` says, too.
    pub(super) fn new(weights: &Weights, description: &str, context: usize) -> Self {
        Self { weights: fingerprint(weights), description: hash(&[description.as_bytes()]), context }
    }

    /// Why a session of this origin is not one of `model`.
    fn refusal(&self, model: &Self) -> Option<String> {
        if self.weights != model.weights || (self.description != model.description && self.context == model.context) {
            return Some("is a session of another model".to_owned());
        }
        (self.description != model.description).then(|| {
            let Self { context, .. } = self;
            let other = model.context;
            format!(
                "is a session with a context of {context} tokens, and with one of {other} this model computes otherwise: \
                 open the model with a context of {context}"
            )
        })
    }
}

/// What tells a model's tensors from others: of each, the name, type, shape and a few bytes. Models that were trained on
/// from the same one differ in those.
fn fingerprint(weights: &Weights) -> String {
    let mut parts = Vec::new();
    let mut tensors: Vec<_> = weights.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    for (name, tensor) in tensors {
        parts.extend(format!("\n{name} {} {:?} ", tensor.encoding(), tensor.shape()).bytes());
        let bytes = tensor.bytes();
        for start in [0, bytes.len() / 2, bytes.len().saturating_sub(64)] {
            parts.extend(bytes[start..].iter().take(64));
        }
    }
    hash(&[&parts])
}

/// Refuses devices and folders: reading them might never end, and a new file would replace them.
fn check_kind(path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(kind) if !kind.is_file() => Err(Error::bad_file(path.display().to_string(), "is not a regular file")),
        _ => Ok(()),
    }
}

/// Writes a session to `path`: to a temporary file beside it that is renamed, so that a full disk leaves what was there.
pub(super) fn write(path: &Path, origin: Origin, saved: &Saved) -> Result<()> {
    check_kind(path)?;
    let tokens: Vec<u8> = saved.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    let header = Header {
        origin,
        tokens: saved.tokens.len(),
        position: saved.position,
        state_bytes: saved.state.len(),
        notes: saved.notes.clone(),
        check: hash(&[&tokens, &saved.state]),
    };
    let header = serde_json::to_vec(&header).expect("numbers and text");
    let written = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        folder.metadata()?;
        let file = tempfile::NamedTempFile::new_in(folder)?;
        for part in [MAGIC, &(header.len() as u64).to_le_bytes(), &header, &tokens, &saved.state] {
            file.as_file().write_all(part)?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    written().map_err(|error| Error::io("write the session", path, error))
}

/// Reads a session of `model`.
pub(super) fn read(path: &Path, model: &Origin) -> Result<Saved> {
    check_kind(path)?;
    let bytes = std::fs::read(path).map_err(|error| Error::io("read the session", path, error))?;
    let bad = |problem: &str| Error::bad_file(path.display().to_string(), problem);
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("is not a session of this version of babil"))?;
    let parsed = || {
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (header, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let header: Header = serde_json::from_slice(header).ok()?;
        let (tokens, state) = rest.split_at_checked(header.tokens.checked_mul(4)?)?;
        let whole = state.len() == header.state_bytes
            && hash(&[tokens, state]) == header.check
            && header.position <= header.tokens;
        whole.then_some((header, tokens, state))
    };
    let (header, tokens, state) = parsed().ok_or_else(|| bad("is a damaged session"))?;
    if let Some(problem) = header.origin.refusal(model) {
        return Err(bad(&problem));
    }
    let tokens = tokens.as_chunks::<4>().0.iter().map(|bytes| Token::from_le_bytes(*bytes)).collect();
    Ok(Saved { tokens, position: header.position, state: state.to_vec(), notes: header.notes })
}
