//! `babil chat`: a conversation with a language model in the terminal, or line by line from stdin.

use std::io::{BufRead, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use babil_models::tasks::chat::{Chat, ChatNews, Think};
use babil_runtime::Error;
use babil_runtime::generate::Finish;
use clap::Args;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;

use crate::args::Context;
use crate::interrupt::{clear, interrupted};
use crate::language::{GenerationArgs, ModelArgs, Opened, answer_json, restore_chat};
use crate::power::PowerArgs;

const EXAMPLES: &str = "\
Examples:
  babil chat smollm2.gguf
  babil chat model.gguf --system \"You answer in one sentence.\"
  babil chat model.gguf --session talk.babil       goes on where it ended
  printf 'Hello!\\nWhat did I say?\\n' | babil chat model.gguf

In the conversation, Ctrl-C stops an answer, Ctrl-D ends the program, and /help lists the commands.";

const HELP: &str = "\
/clear           forget the conversation
/undo            forget the last question and its answer
/retry           answer the last question again
/system TEXT     begin anew with this system prompt
/save FILE       save the conversation
/load FILE       go on with a saved one
/stats           how fast the last answer was
/exit            end the program (so does Ctrl-D)
A line that ends with \\ goes on in the next one.";

/// Talk to a language model
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChatArgs {
    /// A GGUF file, a folder, or a name of `babil list`
    #[arg(value_name = "MODEL")]
    model: String,
    /// What the model should be or know
    #[arg(short, long, value_name = "TEXT")]
    system: Option<String>,
    /// Let a reasoning model think first, and show its thoughts on stderr
    #[arg(long, conflicts_with = "no_think")]
    think: bool,
    /// Ask a reasoning model not to think
    #[arg(long)]
    no_think: bool,
    /// Go on with the conversation in this file if it exists, and save it there at the end
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,
    /// Say after each answer how fast it was
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    model_args: ModelArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    power: PowerArgs,
}

pub(crate) fn run(args: ChatArgs, context: &Context) -> Result<()> {
    args.generation.request()?;
    let opened = args.model_args.open_with(&args.model, &args.power, context)?;
    let mut lines = Lines::new()?;
    let terminal = lines.is_terminal();
    let mut talk = Talk {
        chat: new_chat(&args, &opened, args.system.as_deref())?,
        args: &args,
        opened: &opened,
        context,
        terminal,
    };
    if let Some(path) = args.session.as_deref().filter(|path| path.exists()) {
        restore_chat(&mut talk.chat, path, args.system.as_deref())?;
        context.output.note(format!("{} messages of {}", talk.chat.messages().len(), path.display()));
    }
    if terminal {
        context.output.note("Ctrl-C stops an answer, Ctrl-D ends; /help lists commands");
    }
    let outcome = talk.converse(&mut lines);
    // What was said before an interruption or an error is kept too.
    if let Some(path) = &args.session {
        talk.chat.save(path)?;
    }
    outcome
}

fn new_chat<'m>(args: &ChatArgs, opened: &'m Opened, system: Option<&str>) -> Result<Chat<'m>> {
    let think = match (args.think, args.no_think) {
        (true, _) => Think::Yes,
        (_, true) => Think::No,
        _ => Think::Default,
    };
    Ok(Chat::new(&opened.model, system, think)?)
}

/// A conversation and how it is shown.
struct Talk<'a> {
    chat: Chat<'a>,
    args: &'a ChatArgs,
    opened: &'a Opened,
    context: &'a Context,
    /// Somebody sits there: what goes wrong with one message does not end the conversation.
    terminal: bool,
}

impl Talk<'_> {
    fn converse(&mut self, lines: &mut Lines) -> Result<()> {
        while let Some(line) = lines.next()? {
            let flow = match line.trim().strip_prefix('/') {
                Some(command) => self.command(command)?,
                None if line.trim().is_empty() => ControlFlow::Continue(()),
                None => self.say(&line)?,
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Says `text` and shows the answer as it comes.
    fn say(&mut self, text: &str) -> Result<ControlFlow<()>> {
        let output = &self.context.output;
        let request = self.args.generation.request()?;
        let mut shown = Ok(());
        self.opened.pacing.begin();
        let answer = self.chat.say(text, &request, &mut |news| {
            match news {
                ChatNews::Answer(text) if !output.is_json() => shown = output.text(text),
                ChatNews::Thought(text) if self.args.think && !output.is_json() => output.aside(text),
                _ => {}
            }
            self.opened.pacing.between();
            if shown.is_err() || interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        shown?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if self.terminal && !matches!(error, Error::Io { .. }) => {
                output.note(format!("babil: {error}"));
                return Ok(ControlFlow::Continue(()));
            }
            Err(error) => return Err(error.into()),
        };
        if output.is_json() {
            let thought = answer.thought.as_deref();
            output.json(&answer_json(self.opened, &answer.text, thought, &answer.generated, request.sampling.seed))?;
        } else {
            output.line("")?;
        }
        if self.args.stats {
            output.note(self.opened.statistics(&answer.generated));
        }
        match answer.generated.finish {
            Finish::Cancelled if self.terminal => clear(),
            Finish::Cancelled => return Err(Error::Cancelled.into()),
            Finish::Context => output.note("the context is full: /clear begins anew, --shift forgets the oldest part"),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A line that begins with `/`.
    fn command(&mut self, line: &str) -> Result<ControlFlow<()>> {
        let output = &self.context.output;
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("help" | "?", _) => output.note(HELP),
            ("exit" | "quit" | "bye", _) => return Ok(ControlFlow::Break(())),
            ("clear", _) => self.chat.clear(),
            ("undo", _) if !self.chat.undo() => output.note("there is nothing to forget"),
            ("undo", _) => {}
            ("retry", _) => match self.chat.take_last_question() {
                Some(question) => return self.say(&question),
                None => output.note("there is no question to answer again"),
            },
            ("system", text) if !text.is_empty() => self.chat = new_chat(self.args, self.opened, Some(text))?,
            ("save", file) if !file.is_empty() => self.report(self.chat.save(Path::new(file)), "saved"),
            ("load", file) if !file.is_empty() => {
                let result = self.chat.restore(Path::new(file));
                self.report(result, "loaded");
            }
            ("stats", _) => match self.chat.last() {
                Some(answer) => output.note(self.opened.statistics(answer)),
                None => output.note("there is no answer yet"),
            },
            ("system" | "save" | "load", _) => output.note(format!("/{name} needs a value; /help shows how")),
            _ => output.note(format!("no command /{name}; /help lists them")),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn report(&self, result: babil_runtime::Result<()>, done: &str) {
        match result {
            Ok(()) => self.context.output.note(done),
            Err(error) => self.context.output.note(format!("babil: {error}")),
        }
    }
}

/// What the user writes: edited lines in a terminal, plain ones from stdin.
enum Lines {
    Terminal(Box<rustyline::Editor<(), DefaultHistory>>),
    Plain,
}

impl Lines {
    fn new() -> Result<Self> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Ok(Self::Plain);
        }
        let config = rustyline::Config::builder().auto_add_history(true).build();
        Ok(Self::Terminal(Box::new(rustyline::Editor::with_config(config)?)))
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next message, `None` at the end. A line that ends with `\` goes on in the next.
    fn next(&mut self) -> Result<Option<String>> {
        let mut text = String::new();
        loop {
            let line = match self {
                Self::Terminal(editor) => match editor.readline(if text.is_empty() { "> " } else { "| " }) {
                    Ok(line) => line,
                    // At the prompt, Ctrl-C drops what was typed.
                    Err(ReadlineError::Interrupted) => {
                        clear();
                        text.clear();
                        continue;
                    }
                    Err(ReadlineError::Eof) => return Ok(None),
                    Err(error) => return Err(error).context("cannot read from the terminal"),
                },
                Self::Plain => {
                    if interrupted() {
                        return Err(Error::Cancelled.into());
                    }
                    let mut line = String::new();
                    let bad = |error| Error::BadRequest(format!("cannot read stdin: {error}"));
                    let read = std::io::stdin().lock().read_line(&mut line).map_err(bad)?;
                    if read == 0 {
                        return Ok(None);
                    }
                    line.trim_end_matches(['\n', '\r']).to_owned()
                }
            };
            match line.strip_suffix('\\') {
                Some(line) => {
                    text += line;
                    text.push('\n');
                }
                None => return Ok(Some(text + &line)),
            }
        }
    }
}
