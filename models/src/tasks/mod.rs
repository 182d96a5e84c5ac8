//! What people do with models: translate (now), chat, transcribe and subtitle (to come).

pub mod translate;
