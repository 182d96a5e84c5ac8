//! `babil completions`: a script that completes commands and options in a shell.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::args::{Cli, Context};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil completions bash > ~/.local/share/bash-completion/completions/babil
  babil completions zsh > ~/.zfunc/_babil
  babil completions fish > ~/.config/fish/completions/babil.fish
  babil completions powershell >> $PROFILE")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: CompletionsArgs, context: &Context) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "babil", &mut script);
    context.output.text(String::from_utf8_lossy(&script))
}
