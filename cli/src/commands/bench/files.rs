//! The files that a run writes: begun before anything is measured, so that a run of an hour does not end with a place
//! that cannot be written.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_models::bench::report::Row;
use babil_runtime::Error;

use super::FormArgs;
use super::run::Report;
use crate::args::Context;
use crate::exit::UsageError;
use crate::output_file::OutputFile;

/// What is to be written when the run is over.
#[derive(Default)]
pub(super) struct Files {
    save: Option<(PathBuf, OutputFile)>,
    #[cfg(feature = "plot")]
    plot: Option<Plot>,
}

/// A picture's file.
#[cfg(feature = "plot")]
struct Plot {
    path: PathBuf,
    format: super::plot::Format,
    file: OutputFile,
}

impl Files {
    /// Begins the files that `forms` ask for, and checks that the meter's `samples` can be written.
    pub(super) fn open(forms: &FormArgs, samples: Option<&Path>) -> Result<Self> {
        let mut files = Self::default();
        #[cfg(feature = "plot")]
        if let Some(path) = &forms.plot {
            let format = super::plot::Format::of_path(path)?;
            files.plot = Some(Plot { path: path.clone(), format, file: create(path, forms.force)? });
        }
        #[cfg(not(feature = "plot"))]
        if forms.plot.is_some() {
            return Err(no_plots("--plot"));
        }
        if let Some(path) = &forms.save {
            files.save = Some((path.clone(), create(path, forms.force)?));
        }
        if let Some(path) = samples {
            // It is written by the library when the run is over.
            create(path, forms.force)?.abandon();
        }
        Ok(files)
    }

    /// Writes the report and the picture.
    pub(super) fn write(&mut self, report: &Report, context: &Context) -> Result<()> {
        if let Some((path, mut file)) = self.save.take() {
            let written = file.write_all(report_text(&report.rows)?.as_bytes());
            written.map_err(|error| Error::io("write", &path, error))?;
            file.finish()?;
            context.output.note(format_args!("report -> {}", path.display()));
        }
        #[cfg(feature = "plot")]
        if let Some(Plot { path, format, mut file }) = self.plot.take() {
            let picture = super::plot::draw(report, format)?;
            file.write_all(&picture).map_err(|error| Error::io("write", &path, error))?;
            file.finish()?;
            context.output.note(format_args!("plot -> {}", path.display()));
        }
        Ok(())
    }
}

/// Files that were not written because the run failed leave nothing behind.
impl Drop for Files {
    fn drop(&mut self) {
        if let Some((_, file)) = self.save.take() {
            file.abandon();
        }
        #[cfg(feature = "plot")]
        if let Some(Plot { file, .. }) = self.plot.take() {
            file.abandon();
        }
    }
}

/// Begins a file.
pub(super) fn create(path: &Path, force: bool) -> Result<OutputFile> {
    if path.is_file() && !force {
        return Err(UsageError::new(format!("{} exists already; --force overwrites it", path.display())).into());
    }
    OutputFile::create(path)
}

/// A report as llama-bench prints its own: a list with a row on each line.
pub(super) fn report_text(rows: &[Row]) -> Result<String> {
    let lines = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

/// What a build without plots says to `option`.
#[cfg(not(feature = "plot"))]
pub(super) fn no_plots(option: &str) -> anyhow::Error {
    UsageError::new(format!("{option}: this build draws no plots (feature `plot`)")).into()
}
