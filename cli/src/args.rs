//! The command line. Raw arguments ([`Cli`]) become resolved options ([`Context`] and each command's own), and only
//! those are passed on.

use anyhow::Result;
use babil_models::catalogue::Settings;
use clap::{Args, Parser, Subcommand};

#[cfg(feature = "pull")]
use crate::commands::pull;
use crate::commands::{
    bench, chat, completions, doctor, embed, list, man, perplexity, plan, quantize, rm, run, show, tokenize, translate,
    verify,
};
#[cfg(feature = "audio")]
use crate::commands::{listen, subtitle, transcribe};
use crate::exit;
use crate::output::Output;

/// Offline speech, translation and small language models on your own device.
#[derive(Debug, Parser)]
#[command(name = "babil", version, propagate_version = true, after_long_help = exit::HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Print the result as JSON (errors too, on stderr)
    #[arg(long, global = true)]
    json: bool,
    /// No notes and no progress on stderr, errors only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Never open a network connection, as HF_HUB_OFFLINE=1
    #[arg(long, global = true)]
    offline: bool,
}

/// What every command needs, resolved from [`GlobalArgs`].
#[derive(Debug)]
pub(crate) struct Context {
    /// Where results, notes and progress go.
    pub(crate) output: Output,
    offline: bool,
}

impl GlobalArgs {
    pub(crate) fn resolve(&self) -> Context {
        Context { output: Output::new(self.json, self.quiet), offline: self.offline }
    }
}

impl Context {
    /// Where the cache and the hub are: the environment, and `--offline`.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::from_env()?;
        settings.offline |= self.offline;
        Ok(settings)
    }
}

/// One variant per module in [`crate::commands`].
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Translate(translate::TranslateArgs),
    Run(run::RunArgs),
    Chat(chat::ChatArgs),
    Embed(embed::EmbedArgs),
    Perplexity(perplexity::PerplexityArgs),
    Bench(bench::BenchArgs),
    #[cfg(feature = "audio")]
    Transcribe(transcribe::TranscribeArgs),
    #[cfg(feature = "audio")]
    Listen(listen::ListenArgs),
    #[cfg(feature = "audio")]
    Subtitle(subtitle::SubtitleArgs),
    Tokenize(tokenize::TokenizeArgs),
    Plan(plan::PlanArgs),
    #[cfg(feature = "pull")]
    Pull(pull::PullArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Verify(verify::VerifyArgs),
    Rm(rm::RmArgs),
    Quantize(quantize::QuantizeArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Translate(args) => translate::run(args, context),
            Self::Run(args) => run::run(args, context),
            Self::Chat(args) => chat::run(args, context),
            Self::Embed(args) => embed::run(args, context),
            Self::Perplexity(args) => perplexity::run(args, context),
            Self::Bench(args) => bench::run(args, context),
            #[cfg(feature = "audio")]
            Self::Transcribe(args) => transcribe::run(args, context),
            #[cfg(feature = "audio")]
            Self::Listen(args) => listen::run(args, context),
            #[cfg(feature = "audio")]
            Self::Subtitle(args) => subtitle::run(args, context),
            Self::Tokenize(args) => tokenize::run(args, context),
            Self::Plan(args) => plan::run(args, context),
            #[cfg(feature = "pull")]
            Self::Pull(args) => pull::run(args, context),
            Self::List(args) => list::run(args, context),
            Self::Show(args) => show::run(args, context),
            Self::Verify(args) => verify::run(args, context),
            Self::Rm(args) => rm::run(args, context),
            Self::Quantize(args) => quantize::run(args, context),
            Self::Doctor(args) => doctor::run(args, context),
            Self::Completions(args) => completions::run(args, context),
            Self::Man(args) => man::run(args, context),
        }
    }
}
