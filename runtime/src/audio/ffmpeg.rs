//! Sound that nothing here decodes, through the user's own `ffmpeg`: a child process that writes samples into a pipe. It ends
//! when it is dropped.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use super::SAMPLE_RATE;
use super::pcm::{SampleFormat, Samples};
use super::source::{Source, TrackChoice};
use crate::error::{Error, Result};

/// How much of what it complains about is kept.
const COMPLAINTS: usize = 4096;

/// A running `ffmpeg`.
pub(super) struct Ffmpeg {
    file: String,
    child: Child,
    samples: Samples<ChildStdout>,
    complaints: Option<JoinHandle<String>>,
    any: bool,
    ended: bool,
}

impl Ffmpeg {
    /// Starts `program` on a track of the file `path`; None if there is no such program.
    pub(super) fn start(program: &Path, path: &Path, track: &TrackChoice) -> Result<Option<Self>> {
        // Without the prefix a name may be taken for the address of something else; and a playlist names files of others.
        let mut input = OsString::from("file:");
        input.push(path);
        let track = match track {
            TrackChoice::First => ["-map".to_owned(), "0:a:0".to_owned()],
            TrackChoice::Index(index) => ["-map".to_owned(), format!("0:a:{index}")],
            // The first of several, as a film and its commentary: a map would take them all, a filter takes one.
            TrackChoice::Language(language) => {
                ["-filter_complex".to_owned(), format!("[0:a:m:language:{language}]anull")]
            }
        };
        let mut command = Command::new(program);
        command.args(["-nostdin", "-v", "error", "-protocol_whitelist", "file", "-i"]).arg(input);
        command.args(track).args(["-ac", "1", "-ar", &SAMPLE_RATE.to_string(), "-f", "f32le", "pipe:1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for this program, which ends the other.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("start", program, error)),
        };
        let complaints = child.stderr.take().map(|pipe| std::thread::spawn(move || last_of(pipe)));
        let Some(pipe) = child.stdout.take() else { return Ok(None) };
        let samples = Samples::new(pipe, SampleFormat::F32, 1);
        Ok(Some(Self { file: path.display().to_string(), child, samples, complaints, any: false, ended: false }))
    }

    /// Waits for its end; the last thing it complained about, if it failed.
    fn failure(&mut self) -> Result<Option<String>> {
        let status = self.child.wait().map_err(|error| Error::io("wait for", "ffmpeg", error))?;
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let last = complaints.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").trim();
        Ok((!status.success()).then(|| last.to_owned()))
    }
}

impl Source for Ffmpeg {
    fn next(&mut self, mono: &mut Vec<f32>, warnings: &mut Vec<String>) -> Result<Option<u32>> {
        if self.ended {
            return Ok(None);
        }
        if self.samples.next(mono).map_err(|error| Error::io("read", "ffmpeg", error))? {
            self.any = true;
            return Ok(Some(SAMPLE_RATE));
        }
        self.ended = true;
        match self.failure()? {
            Some(problem) if self.any => warnings.push(format!("ffmpeg: {problem}")),
            Some(problem) if problem.contains("matches no streams") => {
                return Err(Error::NoSound { file: self.file.clone() });
            }
            Some(problem) => {
                return Err(Error::bad_file(&self.file, format!("not decoded here, nor by ffmpeg: {problem}")));
            }
            None => {}
        }
        Ok(None)
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // Whatever fails here has failed because it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of what comes out of a pipe.
fn last_of(mut pipe: impl Read) -> String {
    let (mut kept, mut bytes) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = pipe.read(&mut bytes) {
        kept.extend_from_slice(&bytes[..count]);
        if kept.len() > 2 * COMPLAINTS {
            kept.drain(..kept.len() - COMPLAINTS);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The command that makes a file of the sound of `path` that can be read.
pub(super) fn conversion(path: &Path) -> String {
    let converted = path.with_extension(if path.extension().is_some_and(|it| it == "wav") { "16k.wav" } else { "wav" });
    format!("ffmpeg -i {} -vn -ac 1 -ar {SAMPLE_RATE} {}", quoted(path), quoted(&converted))
}

/// A path as a shell wants it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-\\:".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
