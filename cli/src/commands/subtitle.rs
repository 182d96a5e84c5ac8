//! `babil subtitle`: a film -> subtitles beside it, in the language that is spoken or in another one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use babil_models::speech::Task;
use babil_models::tasks::glossary::Glossary;
use babil_models::tasks::language::english_name;
use babil_models::tasks::subtitles::Format;
use babil_runtime::Error;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::args::Context;
use crate::device::WithReport;
use crate::exit::UsageError;
use crate::interrupt::interrupted;
use crate::speech::{Destination, Form, Heard, OpenSpeech, Page, SaveArgs, SpeechArgs, close, origin, write_down};
use crate::subtitles::LayoutArgs;
use crate::translator::route::{Route, RouteArgs, Translation};

/// Write subtitles for a film, in the language that is spoken or in another one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil subtitle film.mkv                     film.en.srt, if English is spoken
  babil subtitle film.mkv --lang fr           film.fr.srt, translated
  babil subtitle film.mkv --lang fr --resume  goes on where Ctrl-C ended it
  babil subtitle talk.mp3 --to vtt -o - | less
  babil subtitle film.mkv --lang de --translator opus-mt-en-de --keep Hogwarts

Subtitles are written beside the film, where players find them. An existing file is overwritten
with --force only. They are NAME.part until they are complete, and what was transcribed is kept in
NAME.part.jsonl: after Ctrl-C, an error or a loss of power, the same command with --resume goes on,
and ends with the file that one run would have written.

With --via auto, a translator is taken that is here: the one of --translator, or else the first of
`babil list` that knows both languages. Where there is none and the subtitles are to be English,
the speech model writes English itself, if it knows several languages.")]
pub(crate) struct SubtitleArgs {
    /// A film, or a file of sound
    #[arg(value_name = "FILM")]
    film: PathBuf,
    /// Language of the subtitles: a code or a name, such as `fr` or `french` [default: the one that is spoken]
    #[arg(short, long, value_name = "LANGUAGE")]
    lang: Option<String>,
    #[command(flatten)]
    speech: SpeechArgs,
    #[command(flatten)]
    route: RouteArgs,
    /// Format of the subtitles [default: what the name of the output says, else srt]
    #[arg(long, value_enum, value_name = "FORMAT")]
    to: Option<To>,
    #[command(flatten)]
    save: SaveArgs,
    #[command(flatten)]
    layout: LayoutArgs,
}

/// A form of subtitles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// SubRip
    Srt,
    /// WebVTT
    Vtt,
}

impl SubtitleArgs {
    fn format(&self) -> Format {
        match self.to {
            Some(To::Srt) => Format::Srt,
            Some(To::Vtt) => Format::WebVtt,
            None => self.save.output.as_deref().and_then(Format::of_path).unwrap_or(Format::Srt),
        }
    }

    /// Where the subtitles in `language` go: by default beside the film, as `film.fr.srt`.
    fn destination(&self, language: &str) -> Destination {
        self.save.named().unwrap_or_else(|| {
            let mut name = self.film.file_stem().unwrap_or_default().to_owned();
            name.push(format!(".{language}.{}", self.format().extension()));
            Destination::File(self.film.with_file_name(name))
        })
    }

    /// Refuses what cannot go where it is wanted, before there is any work.
    fn check(&self, json: bool) -> Result<()> {
        let usage = |problem: &str| Err(UsageError::new(problem).into());
        match self.save.named() {
            Some(Destination::Stdout) if json => usage("--json prints a summary on stdout: name a file with --output"),
            Some(Destination::Stdout) if self.save.resume => usage("--resume goes on with a file, not with stdout"),
            _ => Ok(()),
        }
    }
}

pub(crate) fn run(args: SubtitleArgs, context: &Context) -> Result<()> {
    let wish = args.route.wish(args.lang.as_deref(), "--lang")?;
    args.check(context.output.is_json())?;
    let target = wish.as_ref().map(|wish| wish.target.clone());
    let known = target.clone().or_else(|| args.speech.from()).map(|language| args.destination(&language));
    if let Some(Destination::File(path)) = known.or_else(|| args.save.named()) {
        args.save.check(&path, &args.film)?;
    }
    let mut sound = args.speech.sound(&args.film)?;
    let speech = args.speech.open(context)?;

    let Some(spoken) = spoken(&args, &speech, context)? else {
        return nothing(&args, &speech, Heard::default(), context);
    };
    let target = target.unwrap_or_else(|| spoken.clone());
    let glossary = wish.as_ref().map_or_else(Glossary::default, |wish| wish.glossary.clone());
    let route = wish.as_ref().map_or(Ok(Route::Spoken), |wish| wish.route(&spoken, &speech.model))?;
    let translation = match &route {
        Route::Text(name) => Some(Translation::open(name, args.speech.threads(), &spoken, &target, &glossary)?),
        Route::Spoken | Route::Whisper => None,
    };
    let job = translation.as_ref().map(|translation| translation.job(&interrupted));
    if let (Route::Whisper, Some(wish)) = (&route, &wish) {
        wish.note_whisper(context);
    }
    let task = if route == Route::Whisper { Task::Translate } else { Task::Transcribe };
    let options = args.speech.options(Some(spoken.clone()), task, true);
    let (form, layout) = (Form::Subtitles(args.format()), args.layout.layout());
    let name = args.film.display().to_string();
    let destination = args.destination(&target);
    let written = match &destination {
        Destination::Stdout => {
            let mut page = Page::on_stdout(form, layout, job, &context.output)?;
            write_down(&mut sound, &name, &speech, options, &mut page, None, context)?
        }
        Destination::File(path) => {
            args.save.check(path, &args.film)?;
            let more = json!({
                "target": target, "route": format!("{route:?}"), "glossary": format!("{glossary:?}"),
                "form": format!("{form:?}"), "layout": format!("{layout:?}"),
            });
            let (mut file, mut journal) =
                args.save.open(path, origin(&args.film, &args.speech, &speech, &options, more))?;
            let result = Page::in_file(form, layout, job, &mut file, path).and_then(|mut page| {
                write_down(&mut sound, &name, &speech, options, &mut page, journal.as_mut(), context)
            });
            let heard = close(result, file, journal, context)?;
            if heard.cues == 0 {
                fs::remove_file(path).map_err(|error| Error::io("remove", path, error))?;
                return nothing(&args, &speech, heard, context);
            }
            context.output.note(format_args!("{name} -> {}", path.display()));
            heard
        }
    };
    if let Some(translation) = &translation {
        translation.note_missed(context);
    }
    summary(&args, &speech, Some((&*spoken, &*target)), Some(&route), written, Some(&destination), context)
}

/// Says that there is nothing to write.
fn nothing(args: &SubtitleArgs, speech: &OpenSpeech, heard: Heard, context: &Context) -> Result<()> {
    context.output.note(format_args!("nobody speaks in {}: there is nothing to write", args.film.display()));
    summary(args, speech, None, None, heard, None, context)
}

/// The language that is spoken: what the user says, the only one that the model knows, or what the model hears.
fn spoken(args: &SubtitleArgs, speech: &OpenSpeech, context: &Context) -> Result<Option<String>> {
    match (args.speech.from(), &speech.model.special().multilingual) {
        (Some(language), _) => Ok(Some(language)),
        (None, None) => Ok(Some("en".to_owned())),
        (None, Some(_)) => {
            let language = speech
                .language_of(args.speech.sound(&args.film)?, args.speech.options(None, Task::Transcribe, false))?;
            if let Some(language) = &language {
                let english = english_name(language);
                context.output.note(format_args!("{english} seems to be spoken (--from overrides this)"));
            }
            Ok(language)
        }
    }
}

/// What `--json` prints.
fn summary(
    args: &SubtitleArgs,
    speech: &OpenSpeech,
    languages: Option<(&str, &str)>,
    route: Option<&Route>,
    heard: Heard,
    destination: Option<&Destination>,
    context: &Context,
) -> Result<()> {
    if !context.output.is_json() {
        return Ok(());
    }
    let translator = match route {
        Some(Route::Text(name)) => Some(name),
        _ => None,
    };
    let file: Option<&Path> = match destination {
        Some(Destination::File(path)) => Some(path),
        _ => None,
    };
    let summary = json!({
        "film": args.film,
        "file": file,
        "spoken": languages.map(|(spoken, _)| spoken),
        "language": languages.map(|(_, target)| target),
        "via": route.and_then(Route::name),
        "model": speech.path,
        "translator": translator,
        "cues": heard.cues,
        "segments": heard.segments,
        "translated_sentences": heard.translated,
        "seconds": heard.sound.as_secs_f64(),
    });
    context.output.json(&WithReport::new(summary, speech.model.accelerator()))
}
