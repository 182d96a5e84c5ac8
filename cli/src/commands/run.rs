//! `babil run`: a language model answers one prompt, or continues a text.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_models::language::{Answer, News, Request};
use babil_models::tasks::chat::{Chat, ChatNews, Think};
use babil_runtime::generate::Finish;
use babil_runtime::text::Marks;
use babil_runtime::{Error, Token};
use clap::Args;

use crate::args::Context;
use crate::exit::UsageError;
use crate::interrupt::interrupted;
use crate::language::{GenerationArgs, ModelArgs, Opened, answer_json, read_text, restore_chat};
use crate::power::PowerArgs;

const EXAMPLES: &str = "\
Examples:
  babil run smollm2.gguf \"Why is the sky blue?\"
  babil run model.gguf --temperature 0 --max-tokens 100 \"Write a haiku.\"
  cat question.txt | babil run model.gguf
  babil run model.gguf --raw \"Once upon a time\"
  babil run model.gguf --json-schema '{\"type\": \"object\"}' \"A person, as JSON.\"

The prompt is put into the model's chat template; a model without one, or --raw, continues it as plain text.";

/// Run a language model: answer a prompt, or continue a text
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// A GGUF file, a folder, or a name of `babil list`
    #[arg(value_name = "MODEL")]
    model: String,
    /// The prompt; without it, --file or stdin
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    /// Read the prompt from this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    file: Option<PathBuf>,
    /// What the model should be or know, before the prompt
    #[arg(short, long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    /// Let a reasoning model think first, and show its thoughts on stderr
    #[arg(long, conflicts_with_all = ["no_think", "raw"])]
    think: bool,
    /// Ask a reasoning model not to think
    #[arg(long, conflicts_with = "raw")]
    no_think: bool,
    /// Continue from this file if it exists, and save everything to it afterwards
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,
    /// Say at the end how fast it was
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    model_args: ModelArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    power: PowerArgs,
}

pub(crate) fn run(args: RunArgs, context: &Context) -> Result<()> {
    let prompt = prompt(&args)?;
    let request = args.generation.request()?;
    let opened = args.model_args.open_with(&args.model, &args.power, context)?;
    let plain = args.raw || !opened.model.has_template();
    if plain && !args.raw {
        if args.system.is_some() || args.think || args.no_think {
            return Err(UsageError::new("this model has no chat template, which --system and --think need").into());
        }
        context.output.note("the model has no chat template: it continues the prompt as plain text");
    }
    let outcome = if plain {
        continue_text(&args, &opened, &prompt, &request, context)?
    } else {
        answer(&args, &opened, &prompt, &request, context)?
    };
    let Outcome { text, thought, answer } = outcome;
    if context.output.is_json() {
        let json = answer_json(&opened, &text, thought.as_deref(), &answer, request.sampling.seed);
        context.output.json(&json)?;
    } else if !text.ends_with('\n') {
        context.output.line("")?;
    }
    if args.stats {
        context.output.note(opened.statistics(&answer));
    }
    opened.pacing.note(context);
    match answer.finish {
        Finish::Cancelled => Err(Error::Cancelled.into()),
        Finish::Context => {
            let limit = opened.model.context();
            context
                .output
                .note(format!("the context of {limit} tokens is full: a longer one is --ctx, --shift goes on"));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The prompt: arguments, a file, or stdin.
fn prompt(args: &RunArgs) -> Result<String> {
    if !args.prompt.is_empty() {
        return Ok(args.prompt.join(" "));
    }
    if args.file.is_none() && std::io::stdin().is_terminal() {
        let model = &args.model;
        let hint = format!("no prompt: give one, or talk to the model with `babil chat {model}`");
        return Err(UsageError::new(hint).into());
    }
    let text = read_text(args.file.as_deref(), "the prompt")?;
    // The last line's end is the file's, not the prompt's.
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).to_owned())
}

/// What came of the prompt.
struct Outcome {
    text: String,
    thought: Option<String>,
    answer: Answer,
}

/// Whether to go on after a piece was shown, and after the rest that is due.
fn flow(opened: &Opened, shown: &mut Result<()>, result: Result<()>) -> ControlFlow<()> {
    opened.pacing.between();
    if result.is_err() {
        *shown = result;
        return ControlFlow::Break(());
    }
    if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn continue_text(
    args: &RunArgs,
    opened: &Opened,
    prompt: &str,
    request: &Request,
    context: &Context,
) -> Result<Outcome> {
    let mut generator = opened.model.generator()?;
    let restored = restore(args, |path| Ok(generator.restore(path).map(drop)?))?;
    let tokenizer = opened.model.tokenizer();
    let tokens: Vec<Token> = if restored {
        [generator.tokens(), &tokenizer.encode(prompt, Marks::AsText)?].concat()
    } else {
        tokenizer.prompt(prompt, Marks::AsText)?
    };
    let mut shown = Ok(());
    let answer = generator.generate(&tokens, request, &mut |news| match news {
        News::Text(text) if !context.output.is_json() => flow(opened, &mut shown, context.output.text(text)),
        _ => flow(opened, &mut shown, Ok(())),
    })?;
    shown?;
    if let Some(path) = &args.session {
        generator.save(path, "")?;
    }
    Ok(Outcome { text: answer.text.clone(), thought: None, answer })
}

fn answer(args: &RunArgs, opened: &Opened, prompt: &str, request: &Request, context: &Context) -> Result<Outcome> {
    let think = match (args.think, args.no_think) {
        (true, _) => Think::Yes,
        (_, true) => Think::No,
        _ => Think::Default,
    };
    let mut chat = Chat::new(&opened.model, args.system.as_deref(), think)?;
    restore(args, |path| restore_chat(&mut chat, path, args.system.as_deref()))?;
    let mut shown = Ok(());
    let json = context.output.is_json();
    let answer = chat.say(prompt, request, &mut |news| match news {
        ChatNews::Answer(text) if !json => flow(opened, &mut shown, context.output.text(text)),
        ChatNews::Thought(text) if !json && args.think => {
            context.output.aside(text);
            flow(opened, &mut shown, Ok(()))
        }
        _ => flow(opened, &mut shown, Ok(())),
    })?;
    shown?;
    if let Some(path) = &args.session {
        chat.save(path)?;
    }
    Ok(Outcome { text: answer.text, thought: answer.thought, answer: answer.generated })
}

/// Restores the session that was asked for, if its file exists; says whether it did.
fn restore(args: &RunArgs, restore: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
    match &args.session {
        Some(path) if path.exists() => restore(path).map(|()| true),
        _ => Ok(false),
    }
}
