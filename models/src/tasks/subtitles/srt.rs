//! SubRip (`.srt`): a number, a line with two times, lines of text, a blank line.
//!
//! Files in the wild lack numbers, lack blank lines, or have blank lines inside cues; what holds a file together are
//! the lines with times.

use super::time::{self, ARROW};
use super::{Cue, Format, Problem, Subtitles, Text, Warning, check_times, excerpt, is_blank, numbered_lines};

pub(super) fn read(text: &str, warnings: &mut Vec<Warning>) -> Subtitles {
    let lines = numbered_lines(text);
    let mut subtitles = Subtitles::new(Format::Srt);
    let mut at = 0;
    // What stands before the first cue.
    let first = (0..lines.len()).find(|&i| starts_cue(&lines, i)).unwrap_or(lines.len());
    for &(line, stray) in &lines[..first] {
        if !(is_blank(stray) || line == first && is_number(stray)) {
            warnings.push(Warning { line, problem: Problem::Stray(excerpt(stray)) });
        }
    }
    at += first;
    while let Some(&(line, times)) = lines.get(at) {
        // The cue goes on to the next times, or to the number above them.
        let next = (at + 1..lines.len()).find(|&i| starts_cue(&lines, i)).unwrap_or(lines.len());
        let mut body = &lines[at + 1..next];
        at = next;
        if next < lines.len()
            && let Some((_, last)) = body.last()
            && is_number(last)
        {
            body = &body[..body.len() - 1];
        }
        let Some((start, end, settings)) = time::parse_line(times) else {
            warnings.push(Warning { line, problem: Problem::Times(excerpt(times)) });
            continue;
        };
        while let Some(((_, last), before)) = body.split_last()
            && is_blank(last)
        {
            body = before;
        }
        let shown: Vec<&str> = body.iter().map(|(_, line)| *line).filter(|line| !is_blank(line)).collect();
        if let Some((blank, _)) = body.iter().skip_while(|(_, l)| is_blank(l)).find(|(_, line)| is_blank(line)) {
            warnings.push(Warning { line: *blank, problem: Problem::BlankLine });
        }
        let settings = settings.split_whitespace().collect::<Vec<_>>().join(" ");
        let cue = Cue { start, end, settings, text: Text::from_srt(&shown.join("\n")), ..Cue::default() };
        check_times(line, &cue, subtitles.cues.last(), warnings);
        subtitles.cues.push(cue);
    }
    subtitles
}

/// Whether a cue starts with line `i`: two times, or what was to be two times, by where it stands.
fn starts_cue(lines: &[(usize, &str)], i: usize) -> bool {
    let line = lines[i].1;
    if !line.contains(ARROW) {
        return false;
    }
    let above = i.checked_sub(1).map(|i| lines[i].1);
    time::parse_line(line).is_some() || above.is_some_and(is_number)
}

/// Whether a line above times is the number of a cue: `12`, and odd ones such as `#12` or `12.`.
fn is_number(line: &str) -> bool {
    let line = line.trim();
    line.len() <= 10
        && line.contains(|c: char| c.is_ascii_digit())
        && line.chars().all(|c| c.is_ascii_digit() || matches!(c, '#' | '.' | ':' | '-'))
}

pub(super) fn write(cue: &Cue, number: usize) -> String {
    let [start, end] = [cue.start, cue.end].map(|at| time::format(at, ','));
    let settings: String = cue
        .settings
        .split_whitespace()
        .filter(|word| is_coordinate(word))
        .fold(String::new(), |settings, word| settings + " " + word);
    let gap = if number > 1 { "\n" } else { "" };
    let mut text = cue.text.written(Format::Srt).replace(ARROW, "->");
    if !text.is_empty() {
        text.push('\n');
    }
    format!("{gap}{number}\n{start} {ARROW} {end}{settings}\n{text}")
}

/// Whether a setting is one of SRT's: `X1:40`.
pub(super) fn is_coordinate(setting: &str) -> bool {
    ["X1:", "X2:", "Y1:", "Y2:"].iter().any(|name| setting.get(..3).is_some_and(|s| s.eq_ignore_ascii_case(name)))
}
