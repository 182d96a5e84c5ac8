//! WebVTT (`.vtt`): blocks between blank lines. One with times on its first or second line is a cue.

use super::time::{self, ARROW};
use super::{
    Cue, Format, Note, Problem, Span, Subtitles, Text, Warning, check_times, excerpt, is_blank, numbered_lines, srt,
};

const SIGNATURE: &str = "WEBVTT";

/// Whether a file is WebVTT by its first line.
pub(super) fn has_signature(text: &str) -> bool {
    text.strip_prefix(SIGNATURE).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

pub(super) fn read(text: &str, warnings: &mut Vec<Warning>) -> Subtitles {
    let text = text.replace('\0', "\u{fffd}");
    let lines = numbered_lines(&text);
    let mut subtitles = Subtitles::new(Format::WebVtt);
    let mut rest = &lines[..];
    if has_signature(&text) {
        let length = block_length(rest);
        let mut header = vec![rest[0].1[SIGNATURE.len()..].trim_end()];
        header.extend(rest[1..length].iter().map(|(_, line)| *line));
        subtitles.header = header.join("\n");
        rest = &rest[length..];
        if let Some((line, _)) = rest.first().filter(|(_, line)| !is_blank(line)) {
            warnings.push(Warning { line: *line, problem: Problem::NoBlankLine });
        }
    } else if let Some((line, _)) = rest.first() {
        warnings.push(Warning { line: *line, problem: Problem::Signature });
    }
    loop {
        let blank = rest.iter().take_while(|(_, line)| line.is_empty()).count();
        rest = &rest[blank..];
        let Some(&(line, first)) = rest.first() else { break };
        let length = block_length(rest);
        // The times may be cut off from their identifier by nothing: they end the block above them.
        let identified = length == 1 && rest.get(1).is_some_and(|(_, line)| line.contains(ARROW));
        if first.contains(ARROW) || identified {
            let (identifier, times) = if first.contains(ARROW) { ("", rest[0]) } else { (first, rest[1]) };
            rest = &rest[1 + usize::from(identified)..];
            let body = rest.iter().take_while(|(_, line)| !line.is_empty() && !line.contains(ARROW)).count();
            read_cue(identifier, times, &rest[..body], &mut subtitles, warnings);
            rest = &rest[body..];
            continue;
        }
        let block: Vec<&str> = rest[..length].iter().map(|(_, line)| *line).collect();
        rest = &rest[length..];
        if block.iter().all(|line| is_blank(line)) {
            continue;
        }
        if !["NOTE", "STYLE", "REGION"].iter().any(|kind| first.split([' ', '\t', ':']).next() == Some(kind)) {
            warnings.push(Warning { line, problem: Problem::Block(excerpt(first)) });
        }
        subtitles.notes.push(Note { before: subtitles.cues.len(), text: block.join("\n") });
    }
    subtitles
}

/// How many of `lines` belong to the block that starts there: those before a blank line, or before the line with
/// times, unless that stands directly under the first.
fn block_length(lines: &[(usize, &str)]) -> usize {
    let ends =
        |(i, (_, line)): (usize, &(usize, &str))| (line.is_empty() || i > 0 && line.contains(ARROW)).then_some(i);
    lines.iter().enumerate().find_map(ends).unwrap_or(lines.len())
}

fn read_cue(
    identifier: &str,
    (line, times): (usize, &str),
    body: &[(usize, &str)],
    subtitles: &mut Subtitles,
    warnings: &mut Vec<Warning>,
) {
    let Some((start, end, settings)) = time::parse_line(times) else {
        warnings.push(Warning { line, problem: Problem::Times(excerpt(times)) });
        return;
    };
    let shown: Vec<&str> = body.iter().map(|(_, line)| *line).filter(|line| !is_blank(line)).collect();
    let cue = Cue {
        identifier: identifier.trim().to_owned(),
        start,
        end,
        settings: settings.split_whitespace().collect::<Vec<_>>().join(" "),
        text: Text::from_webvtt(&shown.join("\n")),
    };
    check_times(line, &cue, subtitles.cues.last(), warnings);
    subtitles.cues.push(cue);
}

pub(super) fn write_header(header: &str) -> String {
    format!("{SIGNATURE}{header}\n")
}

pub(super) fn write(cue: &Cue) -> String {
    let [start, end] = [cue.start, cue.end].map(|at| time::format(at, '.'));
    let mut settings: Vec<&str> = cue.settings.split_whitespace().filter(|word| !srt::is_coordinate(word)).collect();
    settings.extend(placed(&cue.text));
    let settings = settings.into_iter().fold(String::new(), |settings, word| settings + " " + word);
    let mut text = cue.text.written(Format::WebVtt);
    if !text.is_empty() {
        text.push('\n');
    }
    let identifier = if cue.identifier.is_empty() { String::new() } else { format!("{}\n", cue.identifier) };
    format!("\n{identifier}{start} {ARROW} {end}{settings}\n{text}")
}

/// The settings that say what SRT's `{\an8}` says: the place by its number on a keypad.
fn placed(text: &Text) -> &'static [&'static str] {
    let place = text.0.iter().find_map(|span| match span {
        Span::Override(command) => command.strip_prefix("\\an")?.parse().ok(),
        _ => None,
    });
    match place {
        Some(1) => &["align:start"],
        Some(3) => &["align:end"],
        Some(4) => &["line:50%", "align:start"],
        Some(5) => &["line:50%"],
        Some(6) => &["line:50%", "align:end"],
        Some(7) => &["line:0", "align:start"],
        Some(8) => &["line:0"],
        Some(9) => &["line:0", "align:end"],
        _ => &[],
    }
}
