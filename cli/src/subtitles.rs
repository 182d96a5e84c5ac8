//! Arguments that commands which write subtitles share.

use babil_models::tasks::subtitles::Layout;
use clap::Args;

/// How subtitles are laid out.
#[derive(Clone, Debug, Args)]
pub(crate) struct LayoutArgs {
    /// Most columns of a line of subtitles; full-width characters take two
    #[arg(long, value_name = "N", default_value = "42", value_parser = clap::value_parser!(u16).range(10..=1000))]
    max_chars: u16,
    /// Most lines of a subtitle
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=10))]
    max_lines: u16,
}

impl LayoutArgs {
    pub(crate) fn layout(&self) -> Layout {
        Layout { columns: self.max_chars.into(), lines: self.max_lines.into(), ..Layout::default() }
    }
}
