//! Subtitles in one language -> subtitles in another, with the same times.
//!
//! Sentences are translated, whole, in batches; each translation is cut again where the sentence
//! went from one cue to the next, in proportion and at good places. Marks around a whole cue or a whole utterance stay,
//! as do positions, speakers, dashes, brackets and notes; those around single words are lost with the words.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use babil_runtime::Error;

use super::breaks::{breaks, columns};
use super::layout::{Layout, separator};
use super::sentences::{Sentence, Utterance, placed, sentences, utterances};
use super::{Cue, Note, Span, Subtitles, Tag, Text};
use crate::tasks::document::{DocumentError, Job, Pace, Result, Summary, call, on_one_line};
use crate::tasks::segment::Segmenter;
use crate::tasks::translate::Translation;

/// A translated sentence and where it is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The cues that it is said in, from 1.
    pub cues: RangeInclusive<usize>,
    /// When the first of them appears.
    pub start: Duration,
    /// When the last of them vanishes.
    pub end: Duration,
    /// The sentence.
    pub source: String,
    /// What it became.
    pub translation: Translation,
}

/// What [`translate`] reports, in the order of the file.
#[derive(Debug)]
pub enum News<'n> {
    /// A sentence is translated.
    Sentence(&'n Record),
    /// A block that stands here.
    Note(&'n Note),
    /// The next cue is complete.
    Cue(&'n Cue),
    /// So many cues of the source are done.
    Progress(usize),
}

/// Translates `subtitles`; `news` gets cues and sentences in order, as soon as they are certain.
///
/// A translation with fewer words than its sentence had cues leaves out cues: the one before is shown longer.
///
/// # Errors
/// The translator's, and what `news` fails with. What was reported before is valid.
pub fn translate(
    subtitles: &Subtitles,
    job: &Job<'_>,
    layout: &Layout,
    news: &mut dyn FnMut(News<'_>) -> io::Result<()>,
) -> Result<Summary> {
    let cues = &subtitles.cues;
    let mut spoken: Vec<Utterance> = cues.iter().enumerate().flat_map(|(i, cue)| utterances(cue, i)).collect();
    let count = |sentence: &str| job.translator.count_tokens(sentence, job.pair);
    let segmenter = Segmenter::new(job.translator.max_source_tokens(), &count);
    let sentences = sentences(cues, &mut spoken, &segmenter);
    let mut output = Output { subtitles, layout, spoken, next: 0, notes: 0, waiting: None };

    let mut summary = Summary::default();
    let mut rest = &sentences[..];
    while !rest.is_empty() {
        if (job.cancelled)() {
            return Err(Error::Cancelled.into());
        }
        let (batch, after) = rest.split_at(rest.len().min(window(job.pace)));
        rest = after;
        for (sentence, translation) in batch.iter().zip(translate_batch(batch, job, &mut summary)?) {
            let best = translation.as_ref().map_or(&sentence.text, |translation| &translation.hypotheses[0].text);
            output.put(sentence, best, translation.is_some());
            if let Some(translation) = translation {
                let record = output.record(sentence, translation);
                summary.sentences += 1;
                summary.source_tokens += record.translation.source_tokens as u64;
                summary.tokens += record.translation.hypotheses[0].tokens.len() as u64;
                news(News::Sentence(&record)).map_err(DocumentError::Write)?;
            }
        }
        // The first sentence that is still to come may begin in a cue that has other sentences.
        let open = rest.iter().find_map(|sentence| sentence.fragments.first());
        let done = open.map_or(cues.len(), |fragment| output.spoken[fragment.utterance].cue);
        output.write(done, news)?;
    }
    output.write(cues.len(), news)?;
    output.finish(news)?;
    Ok(summary)
}

/// As [`translate`], all at once.
///
/// # Errors
/// The translator's.
pub fn translate_all(subtitles: &Subtitles, job: &Job<'_>, layout: &Layout) -> Result<Subtitles> {
    let mut translated = Subtitles { notes: Vec::new(), cues: Vec::new(), ..subtitles.clone() };
    translate(subtitles, job, layout, &mut |news| {
        match news {
            News::Note(note) => translated.notes.push(Note { before: translated.cues.len(), text: note.text.clone() }),
            News::Cue(cue) => translated.cues.push(cue.clone()),
            News::Sentence(_) | News::Progress(_) => {}
        }
        Ok(())
    })?;
    Ok(translated)
}

/// Sentences that are translated before their cues are reported.
fn window(pace: Pace) -> usize {
    match pace {
        Pace::Live => 1,
        Pace::Batched { batch, .. } => batch.max(1),
    }
}

/// The translations of those of `batch` that are to be translated.
fn translate_batch(batch: &[Sentence], job: &Job<'_>, summary: &mut Summary) -> Result<Vec<Option<Translation>>> {
    let spoken = batch.iter().filter(|sentence| !sentence.copied);
    let asked: Vec<String> = spoken.map(|sentence| asked(&sentence.text)).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let mut translations = Vec::new().into_iter();
    if !asked.is_empty() {
        translations = call(job, &asked, &mut summary.elapsed, &mut |_| Ok(()))?.into_iter();
    }
    let answer = |sentence: &Sentence| {
        let mut translation = if sentence.copied { None } else { translations.next() }?;
        for hypothesis in &mut translation.hypotheses {
            hypothesis.text = answered(&hypothesis.text, &sentence.text);
        }
        Some(translation)
    };
    Ok(batch.iter().map(answer).collect())
}

/// What the translator is asked: capitals throughout, as of sounds, are not what models have learnt.
pub(super) fn asked(sentence: &str) -> String {
    if !is_shouted(sentence) {
        return sentence.to_owned();
    }
    let lower = sentence.to_lowercase();
    let mut letters = lower.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    first + letters.as_str()
}

/// The translator's answer as it is shown for `sentence`: on one line, in capitals if that was, and without a full stop
/// that it did not have.
pub(super) fn answered(answer: &str, sentence: &str) -> String {
    let mut text = on_one_line(answer).trim().to_owned();
    if !sentence.ends_with(['.', '。']) && !text.ends_with("..") {
        text.truncate(text.trim_end_matches(['.', '。']).trim_end().len());
    }
    if is_shouted(sentence) { text.to_uppercase() } else { text }
}

/// Whether a text is in capitals, and more than an abbreviation.
fn is_shouted(text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    letters > 3 && !text.contains(char::is_lowercase) && text.contains(char::is_uppercase)
}

/// Cues on their way out.
struct Output<'s> {
    subtitles: &'s Subtitles,
    layout: &'s Layout,
    /// The utterances, of which those that are done have their translation.
    spoken: Vec<Utterance>,
    /// The first utterance that is not written.
    next: usize,
    /// Blocks that are written.
    notes: usize,
    /// The last cue: it is shown longer if the next one is left out.
    waiting: Option<Cue>,
}

impl Output<'_> {
    fn record(&self, sentence: &Sentence, translation: Translation) -> Record {
        let cue =
            |fragment: Option<&super::sentences::Fragment>| fragment.map_or(0, |at| self.spoken[at.utterance].cue);
        let (first, last) = (cue(sentence.fragments.first()), cue(sentence.fragments.last()));
        let cues = &self.subtitles.cues;
        let source = sentence.text.clone();
        Record { cues: first + 1..=last + 1, start: cues[first].start, end: cues[last].end, source, translation }
    }

    /// Puts a translation into the utterances that `sentence` came from.
    fn put(&mut self, sentence: &Sentence, translation: &str, translated: bool) {
        let weights: Vec<usize> = sentence.fragments.iter().map(|fragment| fragment.columns).collect();
        for (fragment, piece) in sentence.fragments.iter().zip(apportion(translation, &weights)) {
            let new = self.spoken[fragment.utterance].translation.get_or_insert_default();
            if !new.text.is_empty() && !piece.is_empty() {
                new.text += separator(&new.text, piece);
            }
            new.text += piece;
            new.translated |= translated;
        }
    }

    /// Writes the cues before `end`.
    fn write(&mut self, end: usize, news: &mut dyn FnMut(News<'_>) -> io::Result<()>) -> Result<()> {
        let mut report = |item: News<'_>| news(item).map_err(DocumentError::Write);
        while self.next < end {
            let notes = &self.subtitles.notes;
            let here = self.next;
            while let Some(note) = notes.get(self.notes).filter(|note| note.before <= here) {
                if let Some(cue) = self.waiting.take() {
                    report(News::Cue(&cue))?;
                }
                report(News::Note(note))?;
                self.notes += 1;
            }
            let first = self.spoken.partition_point(|utterance| utterance.cue < here);
            let last = self.spoken.partition_point(|utterance| utterance.cue <= here);
            let source = &self.subtitles.cues[here];
            match composed(source, &self.spoken[first..last], self.layout) {
                Some(cue) => {
                    if let Some(cue) = self.waiting.replace(cue) {
                        report(News::Cue(&cue))?;
                    }
                }
                None => {
                    if let Some(waiting) = &mut self.waiting {
                        waiting.end = waiting.end.max(source.end);
                    }
                }
            }
            self.next += 1;
        }
        report(News::Progress(self.next))
    }

    fn finish(mut self, news: &mut dyn FnMut(News<'_>) -> io::Result<()>) -> Result<()> {
        let cue = self.waiting.take();
        let rest = self.subtitles.notes[self.notes..].iter().map(News::Note);
        cue.iter().map(News::Cue).chain(rest).try_for_each(news).map_err(DocumentError::Write)
    }
}

/// The cue that `source` becomes; none if nothing is left to be said in it.
fn composed(source: &Cue, spoken: &[Utterance], layout: &Layout) -> Option<Cue> {
    let translated = |utterance: &&Utterance| utterance.translation.as_ref().is_some_and(|new| new.translated);
    if !spoken.iter().any(|utterance| translated(&utterance)) {
        return Some(source.clone());
    }
    let said = |utterance: &&Utterance| utterance.translation.as_ref().is_none_or(|new| !new.text.is_empty());
    let mut said: Vec<&Utterance> = spoken.iter().filter(said).collect();
    said.retain(|utterance| !utterance.shown().trim().is_empty());
    if said.is_empty() {
        return None;
    }
    let mut lines = Vec::new();
    for turn in said.chunk_by(|_, next| !next.own_line) {
        let text: String = turn.iter().map(|utterance| utterance.shown()).collect();
        lines.push(layout.wrap(&text));
    }
    let mut spans: Vec<Span> = placed(source).into_iter().map(|command| Span::Override(command.to_owned())).collect();
    spans.extend(marked(&lines.join("\n"), &said));
    Some(Cue { text: Text(spans), ..source.clone() })
}

/// `text`, which is what the utterances show but for white space, with their tags.
fn marked(text: &str, said: &[&Utterance]) -> Vec<Span> {
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    let mut spans = Vec::new();
    let mut rest = text;
    for group in said.chunk_by(|one, next| one.tags == next.tags) {
        let mut count: usize = group.iter().map(|utterance| letters(&utterance.shown())).sum();
        let is_past = |c: char| {
            let past = count == 0 && !c.is_whitespace();
            count = count.saturating_sub(usize::from(!c.is_whitespace()));
            past
        };
        let end = rest.find(is_past).unwrap_or(rest.len());
        let (here, after) = rest.split_at(end);
        rest = after;
        let shown = here.trim_end();
        let tags: &[Tag] = group.first().map_or(&[], |utterance| &utterance.tags);
        spans.extend(tags.iter().cloned().map(Span::Open));
        spans.push(Span::Text(shown.to_owned()));
        spans.extend(tags.iter().rev().map(|tag| Span::Close(tag.name.clone())));
        if !after.is_empty() && shown.len() < here.len() {
            spans.push(Span::Text(here[shown.len()..].to_owned()));
        }
    }
    spans
}

/// Cuts `text` into as many pieces as there are `weights`, as long in proportion as these as good places allow. Pieces
/// are empty only where there are not enough words.
fn apportion<'t>(text: &'t str, weights: &[usize]) -> Vec<&'t str> {
    let places = breaks(text, usize::MAX);
    let total: usize = weights.iter().sum::<usize>().max(1);
    let (mut pieces, mut start, mut first, mut weight) = (Vec::new(), 0, 0, 0);
    for (own, left) in weights.iter().zip((0..weights.len().saturating_sub(1)).rev()) {
        weight += own;
        let target = columns(text) * weight / total;
        let cost = |i: &usize| {
            let distance = columns(&text[..places[*i].end]).abs_diff(target) as u64;
            4 * distance * distance + places[*i].cost
        };
        // The pieces that are left need places, too.
        let last = places.len().saturating_sub(left).max(first + 1).min(places.len());
        let Some(cut) = (first..last).min_by_key(cost) else { break };
        pieces.push(&text[start..places[cut].end]);
        (start, first) = (places[cut].start, cut + 1);
    }
    pieces.push(&text[start..]);
    pieces.resize(weights.len(), "");
    pieces
}

#[cfg(test)]
mod tests;
