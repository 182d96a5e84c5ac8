//! `babil listen`: what is said, while it is said.
//!
//! ```text
//! microphone, stdin --a thread--> queue --Live--+--> partials --> a line that changes, on a terminal
//!                                               +--> finals --(Interpreter)--> stdout
//! ```

use std::cell::OnceCell;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use babil_models::speech::{SpeechModel, Task};
use babil_models::tasks::live::{Event, Latencies, Live, Partials, Statistics};
use babil_models::tasks::subtitles::Layout;
use babil_models::tasks::subtitles::cascade::{Cascade, Heard};
use babil_models::tasks::transcribe::{Segment, Transcription};
use babil_runtime::Error;
use babil_runtime::audio::{Audio, Recorder, Recording, WhenFull, recording};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::args::Context;
use crate::device::WithReport;
use crate::exit::UsageError;
use crate::interrupt::interrupted;
use crate::output::Output;
use crate::power::Pacing;
use crate::speech::{OpenSpeech, PcmArgs, SpeechArgs, as_json, engine};
use crate::translator::route::{Route, RouteArgs, Translation, Wish};

/// Seconds of sound that wait for a machine that is too slow, at most.
const QUEUE: f32 = 30.0;
/// A machine that is so far behind is too slow.
const TOO_SLOW: Duration = Duration::from_secs(5);

/// Write down what is said, while it is said
#[derive(Debug, Args)]
#[command(mut_arg("track", |track| track.hide(true)), after_help = "\
Examples:
  babil listen
  babil listen --translate fr
  babil listen --from de --translate en --stats
  arecord -q -t raw -f S16_LE -r 16000 -c 1 | babil listen -
  ffmpeg -v error -i http://radio.example/live -f s16le -ar 16000 -ac 1 - | babil listen - --json

A line is written whenever somebody has spoken and pauses. On a terminal, what is being said is shown before that: the
beginning stays as it is, and what is dim may still change. Ctrl-C ends it, and what was heard is written.

A machine that is too slow leaves out what it would show before a pause. If that is not enough, a microphone loses
sound, and a program that writes to stdin waits.")]
pub(crate) struct ListenArgs {
    /// `-` is raw PCM on stdin [default: the microphone]
    #[arg(value_name = "INPUT")]
    input: Option<PathBuf>,
    /// The microphone, as the system calls it [default: the one that is chosen there]
    #[arg(long, value_name = "NAME", conflicts_with = "input")]
    microphone: Option<String>,
    #[command(flatten)]
    speech: SpeechArgs,
    /// Write it in another language: a code or a name, such as `fr` or `french`
    #[arg(long, value_name = "LANGUAGE")]
    translate: Option<String>,
    #[command(flatten)]
    route: RouteArgs,
    /// Say at the end how much was heard, and how fast
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    pcm: PcmArgs,
}

pub(crate) fn run(args: ListenArgs, context: &Context) -> Result<()> {
    let stdin = match &args.input {
        None => false,
        Some(input) if input.to_str() == Some("-") => true,
        Some(input) => {
            let problem = format!("INPUT is `-` or nothing: `babil transcribe {}` reads a file", input.display());
            return Err(UsageError::new(problem).into());
        }
    };
    if args.pcm.is_given() && !stdin {
        return Err(UsageError::new("--rate, --channels and --format are for raw PCM on stdin: say `-`").into());
    }
    args.speech.no_track("what is listened to")?;
    let wish = args.route.wish(args.translate.as_deref(), "--translate")?;
    let sound = if stdin { Sound::of_stdin(&args)? } else { Sound::of_microphone(args.microphone.as_deref())? };
    let speech = args.speech.open(context)?;
    let OpenSpeech { model, pacing, .. } = &speech;
    let ready = OnceCell::new();
    let route = wish.as_ref().map_or(Ok(None), |wish| route(wish, &args, model, context))?;
    let (task, interpreter) = match (wish, route) {
        (None, _) => (Task::Transcribe, None),
        (_, Some((_, Route::Whisper))) => (Task::Translate, None),
        (Some(wish), route) => {
            let mut interpreter = Interpreter { wish, args: &args, model, translation: &ready, cascade: None };
            // What cannot be done is said before anybody speaks.
            if let Some((spoken, route)) = route {
                interpreter.begin(&spoken, &route)?;
            }
            (Task::Transcribe, Some(interpreter))
        }
    };
    let mut transcription = Transcription::new(model, args.speech.options(args.speech.from(), task, false))?;
    let mut page = Page::new(&context.output, interpreter);
    let partials = if page.shows_partials() { Partials::InTime } else { Partials::Never };
    let mut live = Live::new(&mut transcription, partials)?;
    if !stdin {
        context.output.note("listening; Ctrl-C ends it");
    }

    // What was heard before the sound failed is worth having, too.
    let failure = hear(&sound.recording, &mut live, &mut page, pacing)?;
    let (events, statistics) = live.finish()?;
    events.iter().try_for_each(|event| page.event(event))?;
    page.finish()?;
    if let Some(translation) = ready.get() {
        translation.note_missed(context);
    }
    sound.finish().iter().for_each(|warning| context.output.note(format_args!("stdin: {warning}")));
    if !statistics.lost.is_zero() {
        context.output.note(format_args!("{:.1} s of sound were lost", statistics.lost.as_secs_f64()));
    }
    if args.stats {
        context.output.note(stats(&statistics));
        speech.note_devices(context);
    }
    pacing.note(context);
    if context.output.is_json() {
        context.output.json(&WithReport::new(stats_json(&statistics), speech.model.accelerator()))?;
    }
    match failure {
        Some(error) => Err(error.into()),
        None if interrupted() => Err(Error::Cancelled.into()),
        None => Ok(()),
    }
}

/// Writes down what comes, until nothing more does; says what failed in the recording, if that is why.
fn hear(recording: &Recording, live: &mut Live<'_, '_>, page: &mut Page<'_>, pacing: &Pacing) -> Result<Option<Error>> {
    let mut told = false;
    loop {
        let block = match recording.next(&interrupted) {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        };
        pacing.begin();
        live.push(&block)?.iter().try_for_each(|event| page.event(event))?;
        page.settled(Duration::from_secs_f64(live.settled()))?;
        pacing.between();
        if !told && (live.behind() > TOO_SLOW || block.lost > 0) {
            told = true;
            let late = live.behind().as_secs_f64();
            let factor = live.statistics().real_time_factor().unwrap_or_default();
            page.note(&format!(
                "this machine is too slow for the model: {factor:.2} s of work for a second of sound, and text is \
                 {late:.0} s late"
            ));
        }
    }
}

/// Sound that is being recorded.
struct Sound {
    recording: Recording,
    /// Reads stdin; says at the end what was wrong with it.
    reader: Option<JoinHandle<Vec<String>>>,
    #[cfg(feature = "mic")]
    _microphone: Option<babil_runtime::audio::Microphone>,
}

impl Sound {
    fn of_stdin(args: &ListenArgs) -> Result<Self> {
        let audio = args.speech.stdin(args.pcm.pcm())?;
        let (recorder, recording) = recording(QUEUE, WhenFull::Wait);
        Ok(Self {
            recording,
            reader: Some(thread::spawn(move || read(audio, &recorder))),
            #[cfg(feature = "mic")]
            _microphone: None,
        })
    }

    #[cfg(feature = "mic")]
    fn of_microphone(name: Option<&str>) -> Result<Self> {
        let (recorder, recording) = recording(QUEUE, WhenFull::Drop);
        let microphone = babil_runtime::audio::Microphone::start(name, recorder)?;
        Ok(Self { recording, reader: None, _microphone: Some(microphone) })
    }

    #[cfg(not(feature = "mic"))]
    fn of_microphone(_: Option<&str>) -> Result<Self> {
        let problem = "this babil was built without microphones: another program can record, as in `arecord -q -t raw \
                       -f S16_LE -r 16000 -c 1 | babil listen -`; or build it with `--features mic`, which on \
                       Linux takes libasound2-dev and pkg-config";
        Err(UsageError::new(problem).into())
    }

    /// What was wrong with it.
    fn finish(self) -> Vec<String> {
        // A reader that still waits for sound is left alone.
        let ended = self.reader.filter(|_| !interrupted());
        ended.and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

/// Passes sound on until there is no more, or nobody listens.
fn read(mut audio: Audio, recorder: &Recorder) -> Vec<String> {
    for block in audio.by_ref() {
        match block {
            Ok(samples) => {
                if !recorder.push(samples) {
                    break;
                }
            }
            Err(error) => recorder.fail(error),
        }
    }
    audio.warnings().to_vec()
}

/// Where text goes.
struct Page<'c> {
    output: &'c Output,
    /// What is being said.
    line: Option<ProgressBar>,
    interpreter: Option<Interpreter<'c>>,
}

impl<'c> Page<'c> {
    fn new(output: &'c Output, interpreter: Option<Interpreter<'c>>) -> Self {
        Self { output, line: output.changing_line(), interpreter }
    }

    fn shows_partials(&self) -> bool {
        self.line.is_some() || self.output.is_json()
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Partial(partial) => {
                if self.output.is_json() {
                    return self.output.json(&json!({
                        "type": "partial", "start": partial.start, "end": partial.end, "stable": partial.stable,
                        "tail": partial.tail, "latency": partial.latency.as_secs_f64(),
                    }));
                }
                if let Some(line) = &self.line {
                    line.set_message(format!("{}\x1b[2m{}\x1b[0m", partial.stable, partial.tail));
                }
                Ok(())
            }
            Event::Final(of) => {
                if let Some(line) = &self.line {
                    line.set_message("");
                }
                if self.output.is_json() {
                    let segments: Vec<Value> = of.segments.iter().map(as_json).collect();
                    self.output.json(&json!({
                        "type": "final", "start": of.start, "end": of.end, "segments": segments,
                        "latency": of.latency.as_secs_f64(),
                    }))?;
                }
                of.segments.iter().try_for_each(|segment| self.segment(segment))?;
                let Some(interpreter) = &mut self.interpreter else { return Ok(()) };
                let sentences = interpreter.pause()?;
                self.sentences(&sentences)
            }
        }
    }

    fn segment(&mut self, segment: &Segment) -> Result<()> {
        let Some(interpreter) = &mut self.interpreter else {
            return if self.output.is_json() { Ok(()) } else { self.write(&segment.text) };
        };
        match interpreter.segment(segment) {
            Ok(sentences) => self.sentences(&sentences),
            // What was said is worth having without its translation, too.
            Err(error) => {
                if !self.output.is_json() {
                    self.write(&segment.text)?;
                }
                Err(error)
            }
        }
    }

    /// Everything before this time is said in segments.
    fn settled(&mut self, time: Duration) -> Result<()> {
        let Some(interpreter) = &mut self.interpreter else { return Ok(()) };
        let sentences = interpreter.silence(time)?;
        self.sentences(&sentences)
    }

    fn finish(&mut self) -> Result<()> {
        self.settled(Duration::MAX)?;
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
        Ok(())
    }

    fn sentences(&self, sentences: &[Heard]) -> Result<()> {
        for Heard { source, translation } in sentences {
            let text = translation.as_ref().map_or(&source.text, |translation| &translation.hypotheses[0].text);
            if self.output.is_json() {
                self.output.json(&json!({
                    "type": "translation", "start": source.start.as_secs_f64(), "end": source.end.as_secs_f64(),
                    "source": source.text, "text": text,
                }))?;
            } else {
                self.write(text)?;
            }
        }
        Ok(())
    }

    /// Writes a line, above the one that changes.
    fn write(&self, text: &str) -> Result<()> {
        match &self.line {
            Some(line) => line.suspend(|| self.output.line(text)),
            None => self.output.line(text),
        }
    }

    fn note(&self, note: &str) {
        match &self.line {
            Some(line) => line.suspend(|| self.output.note(note)),
            None => self.output.note(note),
        }
    }
}

/// The language that is spoken and the way from there, as far as they are known before anybody speaks.
fn route(wish: &Wish, args: &ListenArgs, model: &SpeechModel, context: &Context) -> Result<Option<(String, Route)>> {
    let only = model.special().multilingual.is_none().then(|| "en".to_owned());
    let Some(spoken) = args.speech.from().or(only) else {
        return Ok(wish.route_from_anything(model).map(|route| (String::new(), route)));
    };
    let route = wish.route(&spoken, model)?;
    if route == Route::Whisper {
        wish.note_whisper(context);
    }
    Ok(Some((spoken, route)))
}

/// The way into another language, as soon as the one that is spoken is known.
struct Interpreter<'t> {
    wish: Wish,
    args: &'t ListenArgs,
    model: &'t SpeechModel,
    translation: &'t OnceCell<Translation>,
    cascade: Option<Cascade<'t>>,
}

impl<'t> Interpreter<'t> {
    fn begin(&mut self, spoken: &str, route: &Route) -> Result<&mut Cascade<'t>> {
        let job = match route {
            Route::Text(name) => {
                let Wish { target, glossary, .. } = &self.wish;
                let translation = Translation::open(name, self.args.speech.threads(), spoken, target, glossary)?;
                Some(self.translation.get_or_init(|| translation).job(&|| false))
            }
            Route::Spoken | Route::Whisper => None,
        };
        Ok(self.cascade.insert(Cascade::new(Layout::default(), job)))
    }

    /// The sentences that end with `segment`.
    fn segment(&mut self, segment: &Segment) -> Result<Vec<Heard>> {
        let cascade = match &mut self.cascade {
            Some(cascade) => cascade,
            None => {
                let spoken = segment.language.as_deref().unwrap_or("en");
                let route = self.wish.route(spoken, self.model)?;
                self.begin(spoken, &route)?
            }
        };
        cascade.push(&segment.into()).map_err(engine)?;
        Ok(cascade.heard())
    }

    /// The sentence that ends with a pause.
    fn pause(&mut self) -> Result<Vec<Heard>> {
        let Some(cascade) = &mut self.cascade else { return Ok(Vec::new()) };
        cascade.pause().map_err(engine)?;
        Ok(cascade.heard())
    }

    /// The sentence that a silence until `time` ends.
    fn silence(&mut self, time: Duration) -> Result<Vec<Heard>> {
        let Some(cascade) = &mut self.cascade else { return Ok(Vec::new()) };
        cascade.silence(time).map_err(engine)?;
        Ok(cascade.heard())
    }
}

/// What `--stats` says.
fn stats(statistics: &Statistics) -> String {
    let seconds = |time: Duration| time.as_secs_f64();
    let late = |name: &str, of: &Latencies| match of.median() {
        None => format!("no {name}"),
        Some(median) => {
            let (median, worst) = (seconds(median), seconds(of.worst));
            format!("{} {name} after {median:.2} s, at worst {worst:.2} s", of.count)
        }
    };
    format!(
        "{:.1} s of sound in {:.2} s of work (real-time factor {:.3}); {}; {}; {} partials left out; {:.1} s of \
         sound lost",
        seconds(statistics.heard),
        seconds(statistics.work),
        statistics.real_time_factor().unwrap_or_default(),
        late("finals", &statistics.finals),
        late("partials", &statistics.partials),
        statistics.skipped,
        seconds(statistics.lost),
    )
}

fn stats_json(statistics: &Statistics) -> Value {
    let latencies = |of: &Latencies| {
        json!({
            "count": of.count,
            "median": of.median().map(|median| median.as_secs_f64()),
            "worst": of.worst.as_secs_f64(),
        })
    };
    json!({
        "type": "statistics",
        "heard": statistics.heard.as_secs_f64(),
        "decoded": statistics.decoded.as_secs_f64(),
        "lost": statistics.lost.as_secs_f64(),
        "work": statistics.work.as_secs_f64(),
        "real_time_factor": statistics.real_time_factor(),
        "finals": latencies(&statistics.finals),
        "partials": latencies(&statistics.partials),
        "partials_left_out": statistics.skipped,
    })
}
