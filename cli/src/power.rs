//! `--power` and `--max-temp`: how many threads compute, and when they rest.
//!
//! ```text
//! --power, --max-temp --resolve--> Powered: threads, and a Pacing that is asked between two pieces of work
//! profile of the model on this CPU --^
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use babil_models::bench::root;
use babil_models::catalogue::{self, Resolved};
use babil_models::power::{Power, PowerProfile, Setting, profile_folder};
use babil_models::tasks::translate::{LanguagePair, Progress, SentenceTranslator, TranslateOptions, Translation};
use babil_runtime::accelerator::Report;
use babil_runtime::energy::{Limits, Pace, Pacer, Platform, SystemTime};
use babil_runtime::topology::{Topology, stay_on};
use clap::{Args, ValueEnum};

use crate::args::Context;
use crate::interrupt::interrupted;

/// How much energy a command may take.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PowerArgs {
    /// Threads and rests by what `babil bench --sweep` measured of this model on this machine
    // Headings of single options: that of a group would go on over the options after it.
    #[arg(long, value_enum, help_heading = "Energy options")]
    power: Option<PowerArg>,
    /// Keep the processor below this temperature in degrees Celsius, by resting between tokens or sentences
    #[arg(long, value_name = "C", help_heading = "Energy options")]
    max_temp: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PowerArg {
    /// The most tokens per joule
    Eco,
    /// The most tokens per joule times tokens per second
    Balanced,
    /// The most tokens per second
    Fast,
}

impl From<PowerArg> for Power {
    fn from(power: PowerArg) -> Self {
        match power {
            PowerArg::Eco => Self::Eco,
            PowerArg::Balanced => Self::Balanced,
            PowerArg::Fast => Self::Fast,
        }
    }
}

/// What [`PowerArgs`] come to for a model.
pub(crate) struct Powered {
    /// Threads that generate, where the user has named none.
    pub(crate) threads: Option<usize>,
    /// Threads for prompts, likewise.
    pub(crate) prompt_threads: Option<usize>,
    pub(crate) pacing: Pacing,
}

impl PowerArgs {
    /// For the model in the file or folder `model`; none is the built-in one, which has no profile. This thread, and
    /// those that it starts from now on, keep to the CPUs of the profile.
    ///
    /// # Errors
    /// A profile that is damaged; a limit of temperature where there is no sensor.
    pub(crate) fn resolve(&self, model: Option<&Path>, context: &Context) -> Result<Powered> {
        let setting = self.power.map(|power| setting(power.into(), model, context)).transpose()?.unwrap_or_default();
        if let Some(cpus) = &setting.cpus
            && !stay_on(cpus)
        {
            context.output.note(format_args!("this system does not let babil keep to the CPUs {cpus:?}"));
        }
        let limits = Limits { rest: setting.rest, max_temp_c: self.max_temp };
        let pacer = Pacer::new(root(), limits, SystemTime::default())?;
        Ok(Powered {
            threads: Some(setting.threads).filter(|threads| *threads > 0),
            prompt_threads: setting.prompt_threads,
            pacing: Pacing((!pacer.is_idle()).then(|| Mutex::new(pacer))),
        })
    }

    /// [`PowerArgs::resolve`] for a translator or a speech model that has a name or a path.
    pub(crate) fn resolve_named(&self, model: Option<&str>, context: &Context) -> Result<Powered> {
        self.resolve(model.and_then(place).as_deref(), context)
    }
}

/// Where the model called `name` is. What is wrong with a name is told when it is opened.
pub(crate) fn place(name: &str) -> Option<PathBuf> {
    if Path::new(name).exists() {
        return Some(name.into());
    }
    match catalogue::resolve(name).ok()? {
        Resolved::Gguf(path) | Resolved::Directory(path) => Some(path),
        Resolved::Bundled | Resolved::NotPulled { .. } => None,
    }
}

/// What was measured, or else a guess that is called one: half of the threads to save energy.
fn setting(power: Power, model: Option<&Path>, context: &Context) -> Result<Setting> {
    let cpu = Platform::read(&root()).cpu;
    let profile = model.map(|model| PowerProfile::load(&profile_folder(), model, &cpu)).transpose()?.flatten();
    if let Some(profile) = profile {
        return Ok(profile.setting(power).clone());
    }
    let all = Topology::detect().threads(None, None).decode;
    let threads = if power == Power::Eco { all.div_ceil(2) } else { all };
    context.output.note(guess(model.is_some(), threads));
    Ok(Setting { threads, ..Setting::default() })
}

/// What is said where no profile says how many threads are best.
fn guess(in_a_file: bool, threads: usize) -> String {
    let why = match in_a_file {
        true => "nothing was measured of this model on this machine (`babil bench MODEL --sweep threads` does that)",
        // A profile belongs to a file.
        false => "the built-in model has no profile",
    };
    match threads {
        1 => format!("{why}: 1 thread is a guess"),
        _ => format!("{why}: {threads} threads are a guess"),
    }
}

/// Rests between pieces of work, if there are any.
pub(crate) struct Pacing(Option<Mutex<Pacer>>);

impl Pacing {
    /// Work begins now, after loading or waiting, which earns no rest.
    pub(crate) fn begin(&self) {
        if let Some(pacer) = &self.0 {
            pacer.lock().unwrap_or_else(PoisonError::into_inner).begin();
        }
    }

    /// Rests as long as is due, or until the user asks to stop.
    pub(crate) fn between(&self) {
        if let Some(pacer) = &self.0 {
            pacer.lock().unwrap_or_else(PoisonError::into_inner).between(&interrupted);
        }
    }

    /// What rests came to; none where there can be none.
    pub(crate) fn pace(&self) -> Option<Pace> {
        self.0.as_ref().map(|pacer| pacer.lock().unwrap_or_else(PoisonError::into_inner).pace())
    }

    /// Says how long it rested, if it did.
    pub(crate) fn note(&self, context: &Context) {
        if let Some(pace) = self.pace().filter(|pace| pace.rested_s > 0.0) {
            context.output.note(said(&pace));
        }
    }
}

/// What is said of rests.
fn said(pace: &Pace) -> String {
    let mut text = format!("rested for {:.1} s", pace.rested_s);
    if let Some(hottest) = pace.hottest_c {
        text += &format!(
            ", of which {:.1} s because it was too hot ({} times; at most {hottest:.1} degrees)",
            pace.cooled_s, pace.times_too_hot
        );
    }
    if pace.limit_exceeded {
        text += "; the limit could not be kept: it does not get cooler while babil rests";
    }
    text
}

/// A translator that rests after each batch of sentences.
pub(crate) struct Paced {
    pub(crate) translator: Box<dyn SentenceTranslator>,
    pub(crate) pacing: Arc<Pacing>,
}

impl SentenceTranslator for Paced {
    fn accelerator(&self) -> Option<Report> {
        self.translator.accelerator()
    }

    fn pairs(&self) -> &[LanguagePair] {
        self.translator.pairs()
    }

    fn max_source_tokens(&self) -> usize {
        self.translator.max_source_tokens()
    }

    fn count_tokens(&self, text: &str, pair: &LanguagePair) -> usize {
        self.translator.count_tokens(text, pair)
    }

    fn translate(
        &self,
        batch: &[&str],
        pair: &LanguagePair,
        options: &TranslateOptions,
        progress: &mut dyn FnMut(Progress<'_>) -> std::ops::ControlFlow<()>,
    ) -> babil_runtime::Result<Vec<Translation>> {
        // Before it, the text may have been waited for.
        self.pacing.begin();
        let translations = self.translator.translate(batch, pair, options, progress);
        self.pacing.between();
        translations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_called_one() {
        insta::assert_snapshot!([guess(true, 1), guess(true, 2), guess(false, 4)].join("\n"), @r"
        nothing was measured of this model on this machine (`babil bench MODEL --sweep threads` does that): 1 thread is a guess
        nothing was measured of this model on this machine (`babil bench MODEL --sweep threads` does that): 2 threads are a guess
        the built-in model has no profile: 4 threads are a guess
        ");
    }

    #[test]
    fn rests_are_reported_as_what_they_were() {
        let rested = Pace { rested_s: 12.34, ..Pace::default() };
        let hot = Pace { cooled_s: 2.0, times_too_hot: 3, hottest_c: Some(80.5), limit_exceeded: true, ..rested };
        insta::assert_snapshot!([said(&rested), said(&hot)].join("\n"), @r"
        rested for 12.3 s
        rested for 12.3 s, of which 2.0 s because it was too hot (3 times; at most 80.5 degrees); the limit could not be kept: it does not get cooler while babil rests
        ");
    }
}
