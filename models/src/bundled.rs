//! The translator that ships with babil: English <-> French, both directions in one file. Its card, recipe and licence
//! are in `bundled/en-fr/`.

use crate::files::ModelFiles;

/// Puts the weights at an address that SIMD loads like, inside the program's read-only data.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("../bundled/en-fr/model.safetensors"));

/// English <-> French.
pub static EN_FR: ModelFiles = ModelFiles::BuiltIn {
    label: "bundled/en-fr",
    files: &[
        ("config.json", include_bytes!("../bundled/en-fr/config.json")),
        ("generation_config.json", include_bytes!("../bundled/en-fr/generation_config.json")),
        ("vocab.json", include_bytes!("../bundled/en-fr/vocab.json")),
        ("source.spm", include_bytes!("../bundled/en-fr/source.spm")),
        ("model.safetensors", &WEIGHTS.0),
    ],
};
