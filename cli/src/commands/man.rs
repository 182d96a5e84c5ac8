//! `babil man`: manual pages.

use std::path::PathBuf;

use anyhow::Result;
use babil_runtime::Error;
use clap::{Args, CommandFactory};

use crate::args::{Cli, Context};

/// Print the manual page, or write those of all commands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil man | man -l -
  babil man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write the pages of babil and of all its commands into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: ManArgs, context: &Context) -> Result<()> {
    let command = Cli::command().disable_help_subcommand(true);
    match args.dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            context.output.text(String::from_utf8_lossy(&page))
        }
        Some(dir) => {
            std::fs::create_dir_all(&dir).map_err(|error| Error::io("create", &dir, error))?;
            clap_mangen::generate_to(command, &dir).map_err(|error| Error::io("write in", &dir, error))?;
            context.output.note(format_args!("manual pages are in {}", dir.display()));
            Ok(())
        }
    }
}
