//! Where things go: results to stdout, notes, progress and errors to stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
use babil_runtime::Error;
#[cfg(feature = "audio")]
use indicatif::ProgressDrawTarget;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;

/// Nobody reads stdout any more (`babil list | head -1`): the command ends quietly.
#[derive(Debug, thiserror::Error)]
#[error("stdout was closed")]
pub(crate) struct ClosedPipe;

/// How to show results and progress.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether `--json` was given: then results go through [`Output::json`] alone.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes `text` to stdout as it is, and flushes.
    pub(crate) fn text(&self, text: impl Display) -> Result<()> {
        let mut stdout = io::stdout().lock();
        write!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => ClosedPipe.into(),
            _ => Error::io("write", "stdout", error).into(),
        })
    }

    /// Writes a line of the result to stdout.
    pub(crate) fn line(&self, line: impl Display) -> Result<()> {
        self.text(format_args!("{line}\n"))
    }

    /// Writes `value` to stdout as one line of JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        self.line(serde_json::to_string(value)?)
    }

    /// Text on stderr as it is, such as what a model thinks; none with `--quiet`.
    pub(crate) fn aside(&self, text: impl Display) {
        if !self.quiet {
            let _ = write!(io::stderr(), "{text}");
        }
    }

    /// A remark on stderr; none with `--quiet`.
    pub(crate) fn note(&self, note: impl Display) {
        if !self.quiet {
            // A closed stderr is no reason to fail.
            let _ = writeln!(io::stderr(), "{note}");
        }
    }

    /// A progress bar of `total` bytes on stderr; invisible unless stderr is a terminal.
    pub(crate) fn bytes_bar(&self, total: u64) -> ProgressBar {
        if self.quiet || self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// A progress bar over steps on stderr; invisible unless stderr is a terminal.
    pub(crate) fn steps_bar(&self) -> ProgressBar {
        if self.quiet || self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {eta}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }

    /// A progress bar over seconds of sound on stderr; invisible unless stderr is a terminal.
    #[cfg(feature = "audio")]
    pub(crate) fn time_bar(&self, total: Option<Duration>) -> ProgressBar {
        use std::fmt::Write;

        use indicatif::ProgressState;

        if self.quiet || self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = match total {
            Some(_) => "{msg} [{bar:30}] {at} of {end}, {eta} left",
            None => "{msg} {at}",
        };
        let bar = ProgressBar::new(total.map_or(0, |total| total.as_secs()));
        if let Ok(style) = ProgressStyle::with_template(style) {
            // Text is written into memory, which does not fail.
            let at = |state: &ProgressState, text: &mut dyn Write| {
                let _ = text.write_str(&clock(state.pos()));
            };
            let end = |state: &ProgressState, text: &mut dyn Write| {
                let _ = text.write_str(&clock(state.len().unwrap_or(0)));
            };
            bar.set_style(style.with_key("at", at).with_key("end", end).progress_chars("=> "));
        }
        bar
    }

    /// A line that changes in place, on the terminal that stderr is or else stdout; none where neither is one.
    #[cfg(feature = "audio")]
    pub(crate) fn changing_line(&self) -> Option<ProgressBar> {
        let target = match (io::stderr().is_terminal(), io::stdout().is_terminal()) {
            _ if self.quiet || self.json => return None,
            (true, _) => ProgressDrawTarget::stderr(),
            (false, true) => ProgressDrawTarget::stdout(),
            (false, false) => return None,
        };
        let line = ProgressBar::with_draw_target(None, target);
        line.set_style(ProgressStyle::with_template("{msg}").ok()?);
        Some(line)
    }

    /// Says what went wrong on stderr, and returns the code to exit with.
    pub(crate) fn report(&self, error: &anyhow::Error) -> Exit {
        let exit = Exit::of(error);
        if exit != Exit::Success {
            let message = message(error);
            let text = if self.json {
                serde_json::json!({ "error": message, "exit_code": exit as u8 }).to_string()
            } else {
                format!("babil: {message}")
            };
            let _ = writeln!(io::stderr(), "{text}");
        }
        exit
    }
}

/// Seconds as players show them: `4:05`, `1:04:05`.
#[cfg(feature = "audio")]
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// The error and its causes, but none that the text before already tells.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// Sends the log to stderr as `BABIL_LOG` asks; without it, warnings only.
pub(crate) fn start_log() {
    let filter = EnvFilter::try_from_env("BABIL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time().with_target(false).init();
}

/// `bytes` as people read it: `74 B`, `1.5 MB`.
pub(crate) fn human_bytes(bytes: u64) -> impl Display {
    indicatif::DecimalBytes(bytes)
}
