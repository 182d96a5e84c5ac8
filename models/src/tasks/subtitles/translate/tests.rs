//! Over a translator that writes in capitals, and one that knows some sentences.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::super::Format;
use super::*;
use crate::tasks::testing::Shouter;
use crate::tasks::translate::{Hypothesis, LanguagePair, Progress, SentenceTranslator, TranslateOptions};

/// Knows some sentences; the others it gives back.
struct Phrases(&'static [(&'static str, &'static str)], Vec<LanguagePair>);

impl Phrases {
    fn new(known: &'static [(&'static str, &'static str)]) -> Self {
        Self(known, vec![LanguagePair::new("en", "fr")])
    }
}

impl SentenceTranslator for Phrases {
    fn accelerator(&self) -> Option<babil_runtime::accelerator::Report> {
        None
    }

    fn pairs(&self) -> &[LanguagePair] {
        &self.1
    }
    fn max_source_tokens(&self) -> usize {
        100
    }
    fn count_tokens(&self, text: &str, _: &LanguagePair) -> usize {
        text.split_whitespace().count()
    }
    fn translate(
        &self,
        batch: &[&str],
        _: &LanguagePair,
        _: &TranslateOptions,
        _: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> babil_runtime::Result<Vec<Translation>> {
        let answer = |text: &&str| {
            let known = self.0.iter().find(|(source, _)| source == text);
            let text = known.map_or(*text, |(_, target)| target).to_owned();
            let hypotheses = vec![Hypothesis { text, tokens: Vec::new(), score: 0.0 }];
            Translation { hypotheses, source_tokens: 1, elapsed: Duration::ZERO }
        };
        Ok(batch.iter().map(answer).collect())
    }
}

fn with(translator: &dyn SentenceTranslator, file: &str) -> String {
    let (subtitles, warnings) = Subtitles::read(file.as_bytes(), Format::Srt);
    assert_eq!(warnings, []);
    let (pair, options) = (LanguagePair::new("en", "fr"), TranslateOptions::default());
    let job = Job { translator, pair: &pair, options: &options, pace: Pace::default(), cancelled: &|| false };
    translate_all(&subtitles, &job, &Layout::default()).unwrap().write()
}

/// Cues of two seconds each, one after the other.
fn film(cues: &[&str]) -> String {
    let time = |i: usize| format!("00:{:02}:{:02},000", i / 60, i % 60);
    let cue = |(i, text): (usize, &&str)| format!("{}\n{} --> {}\n{text}\n", i + 1, time(2 * i), time(2 * i + 2));
    cues.iter().enumerate().map(cue).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn assert_shouted(cues: &[&str], expected: &[&str]) {
    assert_eq!(with(&Shouter::default(), &film(cues)), film(expected));
}

#[track_caller]
fn assert_translated(known: &'static [(&'static str, &'static str)], cues: &[&str], expected: &[&str]) {
    assert_eq!(with(&Phrases::new(known), &film(cues)), film(expected));
}

#[test]
fn sentences_are_joined_across_cues_and_cut_again() {
    assert_translated(
        &[
            (
                "The colossus of Rhodes, and it is here just for you.",
                "Le colosse de Rhodes, et il est ici juste pour toi.",
            ),
            ("Look!", "Regarde !"),
        ],
        &["The colossus of Rhodes,", "and it is here", "just for you. Look!"],
        &["Le colosse de Rhodes,", "et il est ici", "juste pour toi. Regarde !"],
    );
    // Without a good place near by, in proportion.
    assert_translated(
        &[("one two three four five six", "aa bb cc dd ff gg hh jj kk")],
        &["one two", "three four five six"],
        &["aa bb cc", "dd ff gg hh jj kk"],
    );
}

#[test]
fn ellipses_between_cues_are_bridged() {
    assert_translated(
        &[("Why can't you see the beauty of this place?", "Pourquoi ne vois-tu la beauté de ce lieu ?")],
        &["Why can't you see...", "...the beauty of this place?"],
        &["Pourquoi ne vois-tu...", "...la beauté de ce lieu ?"],
    );
    assert_shouted(&["Wait...", "What?"], &["WAIT...", "WHAT?"]);
}

#[test]
fn fewer_words_than_cues_leave_cues_out() {
    let translator = Phrases::new(&[("All right, let us go!", "Allons-y !")]);
    let translated = with(&translator, &film(&["All right,", "let us go!", "- Now?"]));
    insta::assert_snapshot!(translated, @r"
    1
    00:00:00,000 --> 00:00:04,000
    Allons-y !

    2
    00:00:04,000 --> 00:00:06,000
    - Now?
    ");
}

#[test]
fn voices_and_sounds_are_not_joined() {
    assert_shouted(&["- Hi.\n- Hello.", "Why?\n- Now"], &["- HI.\n- HELLO.", "WHY?\n- NOW"]);
    assert_shouted(
        &["ANNA: I see\nthe sea", ">> BOB: and", "-5 degrees"],
        &["ANNA: I SEE THE SEA", ">> BOB: AND", "-5 DEGREES"],
    );
    assert_translated(
        &[("I went", "ALLÉ"), ("home", "MAISON"), ("Music playing", "La musique joue."), ("sighs", "soupire")],
        &["I went", "[MUSIC PLAYING]", "home", "(sighs)", "[sighs] home"],
        &["ALLÉ", "[LA MUSIQUE JOUE]", "MAISON", "(soupire)", "[soupire] MAISON"],
    );
    assert_translated(
        &[("But is it -", "Mais est-ce -"), ("Stop!", "Arrête !")],
        &["But is it -", "Stop!"],
        &["Mais est-ce -", "Arrête !"],
    );
    assert_translated(
        &[("la la land", "pays de la la"), ("Stop it.", "Arrête.")],
        &["- ♪ la la land ♪\n- Stop it.", "♪ la la land\nStop it.", "1984"],
        &["- ♪ pays de la la ♪\n- Arrête.", "♪ pays de la la\nArrête.", "1984"],
    );
}

#[test]
fn marks_around_what_is_said_stay() {
    assert_shouted(
        &[
            "<i>Far away</i>",
            "<i>it rains.</i>",
            "{\\an8}It <b>never</b> rains here.",
            "- <i>Hi.</i>\n- <font color=\"red\">No.</font>",
            "[door] <i>He left.</i>",
        ],
        &[
            "<i>FAR AWAY</i>",
            "<i>IT RAINS.</i>",
            "{\\an8}IT NEVER RAINS HERE.",
            "<i>- HI.</i>\n<font color=\"red\">- NO.</font>",
            "[DOOR] <i>HE LEFT.</i>",
        ],
    );
}

#[test]
fn webvtt_keeps_speakers_settings_and_blocks() {
    let file = "WEBVTT\n\nSTYLE\n::cue { color: red }\n\nfirst\n00:00:00.000 --> 00:00:02.000 line:0\n<v Anna B.>I \
                was &lt;here&gt;\n\nNOTE x\n\n00:00:02.000 --> 00:00:04.000\n<v Bob><00:00:03.000>and <c>there.</c></v>\n";
    insta::assert_snapshot!(with(&Shouter::default(), file), @r"
    WEBVTT

    STYLE
    ::cue { color: red }

    first
    00:00:00.000 --> 00:00:02.000 line:0
    <v Anna B.>I WAS &lt;HERE&gt;</v>

    NOTE x

    00:00:02.000 --> 00:00:04.000
    <v Bob>AND THERE.</v>
    ");
}

#[test]
fn cancelling_keeps_what_is_done_and_news_come_in_order() {
    let cues: Vec<String> = (0..500).map(|i| format!("line {i} of the film.")).collect();
    let file = film(&cues.iter().map(String::as_str).collect::<Vec<_>>());
    let (subtitles, _) = Subtitles::read(file.as_bytes(), Format::Srt);
    let (pair, options, translator) = (LanguagePair::new("en", "fr"), TranslateOptions::default(), Shouter::default());
    let asked = std::cell::Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 2000
    };
    let job =
        Job { translator: &translator, pair: &pair, options: &options, pace: Pace::default(), cancelled: &cancelled };
    let mut shown = Vec::new();
    let result = translate(&subtitles, &job, &Layout::default(), &mut |news| {
        if let News::Cue(cue) = news {
            shown.push(cue.text.shown());
        }
        Ok(())
    });
    assert!(matches!(result, Err(DocumentError::Engine(Error::Cancelled))));
    assert!(shown.len() > 100 && shown.len() < 500, "{}", shown.len());
    assert!(shown.iter().zip(&cues).all(|(new, old)| *new == old.to_uppercase()));
}

#[test]
fn pieces_are_as_long_as_their_weights() {
    assert_eq!(apportion("a b c d", &[1, 1]), ["a b", "c d"]);
    assert_eq!(apportion("a", &[1, 1, 1]), ["a", "", ""]);
    assert_eq!(apportion("a b", &[9, 1, 1]), ["a", "b", ""]);
    assert_eq!(apportion("", &[1]), [""]);
    assert_eq!(apportion("今天天气很好", &[1, 2]), ["今天", "天气很好"]);
}

/// The text of a cue: voices, sentences, numbers, sounds, styles.
fn cue() -> impl Strategy<Value = String> {
    "(- |♪ |ANNA: |\\.\\.\\.)?([a-z]{1,7}[.,!?]? |[0-9]{1,3} |<i>|</i>|\n- |\n|\\[door\\] |今天){1,12}[a-z]"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_is_lost_or_moved(cues in proptest::collection::vec(cue(), 1..12)) {
        let file = film(&cues.iter().map(String::as_str).collect::<Vec<_>>());
        let (subtitles, _) = Subtitles::read(file.as_bytes(), Format::Srt);
        let (pair, options) = (LanguagePair::new("en", "fr"), TranslateOptions::default());
        let (translator, pace) = (&Shouter::default(), Pace::default());
        let job = Job { translator, pair: &pair, options: &options, pace, cancelled: &|| false };
        let translated = translate_all(&subtitles, &job, &Layout::default()).unwrap();
        let times = |cues: &[Cue]| cues.iter().map(|cue| (cue.start, cue.end)).collect::<Vec<_>>();
        prop_assert_eq!(times(&translated.cues), times(&subtitles.cues));
        let shown = |cues: &[Cue]| {
            let text = cues.iter().map(|cue| cue.text.shown().to_uppercase() + " ").collect::<String>();
            text.split_whitespace().collect::<String>()
        };
        prop_assert_eq!(shown(&translated.cues), shown(&subtitles.cues));
        prop_assert!(translated.cues.iter().all(|cue| !cue.text.shown().trim().is_empty()));
    }
}
