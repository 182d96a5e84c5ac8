//! The `babil` command: parses the arguments, runs one command, and turns its outcome into an exit code.
//!
//! stdout carries a command's result and nothing else; notes, progress and errors go to stderr.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod device;
mod exit;
mod interrupt;
mod language;
mod output;
mod output_file;
mod power;
#[cfg(feature = "audio")]
mod speech;
mod subtitles;
mod translator;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse_from(commands::bench::llama_bench_spelling(std::env::args_os()));
    output::start_log();
    interrupt::install();
    let context = cli.global.resolve();
    let exit = match cli.command.run(&context) {
        Ok(()) => Exit::Success,
        Err(error) => context.output.report(&error),
    };
    exit.into()
}
