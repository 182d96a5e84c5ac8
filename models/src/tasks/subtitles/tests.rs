//! Files read and written.

use proptest::prelude::*;

use super::*;

fn read(file: &str, named: Format) -> (Subtitles, Vec<String>) {
    let (subtitles, warnings) = Subtitles::read(file.as_bytes(), named);
    (subtitles, warnings.iter().map(ToString::to_string).collect())
}

/// `start-end settings|text`, a line for each cue, and the warnings.
fn summary(file: &str, named: Format) -> String {
    let (subtitles, warnings) = read(file, named);
    let cue = |cue: &Cue| {
        let Cue { identifier, start, end, settings, text } = cue;
        let id = if identifier.is_empty() { String::new() } else { format!("({identifier}) ") };
        format!("{id}{}-{} [{settings}] {:?}\n", start.as_millis(), end.as_millis(), text.shown())
    };
    subtitles.cues.iter().map(cue).chain(warnings.into_iter().map(|warning| warning + "\n")).collect()
}

#[test]
fn formats_are_known_by_extension_and_signature() {
    assert_eq!(Format::of_path("a/Film.EN.SRT".as_ref()), Some(Format::Srt));
    assert_eq!(Format::of_path("film.vtt".as_ref()), Some(Format::WebVtt));
    assert_eq!(Format::of_path("srt".as_ref()), None);
    assert_eq!(read("WEBVTT\n\n00:01.000 --> 00:02.000\nA", Format::Srt).0.format, Format::WebVtt);
}

#[test]
fn srt_as_it_should_be() {
    let file = "\u{feff}1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Hello,</i>\r\nyou.\r\n\r\n2\r\n00:00:03,000 --> \
                00:00:04,000 X1:40 X2:600 Y1:20 Y2:50\r\n{\\an8}Bye.\r\n";
    let (subtitles, warnings) = read(file, Format::Srt);
    assert_eq!(warnings, [""; 0]);
    let i = Tag { name: "i".into(), rest: String::new() };
    let spans = [Span::Open(i), Span::Text("Hello,".into()), Span::Close("i".into()), Span::Text("\nyou.".into())];
    assert_eq!(subtitles.cues[0].text.0, spans);
    assert_eq!(subtitles.cues[1].text.0, [Span::Override("\\an8".into()), Span::Text("Bye.".into())]);
    assert_eq!(subtitles.write(), file.trim_start_matches('\u{feff}').replace("\r\n", "\n"));
}

#[test]
fn srt_as_it_is() {
    let file = "\
Subtitles by nobody

00:00:01.5 --> 00:00:02,25
No number, other marks.

#2.
1:02,000-->1:04,000
First line.

After a blank line.
3
00:02:00,000 --> 00:02:01,000
No blank line above.
4
00:03:0x,000 --> 00:03:04,000
Cannot be shown.

6
00:04:00,000 --> 00:03:59,000
Backwards, 5 < 6, a --> b, <nothing>.
7
00:03:00,000 --> 00:03:01,000


8
00:05:00,000 --> 00:05:01,000
1984
";
    insta::assert_snapshot!(summary(file, Format::Srt), @r#"
    1500-2250 [] "No number, other marks."
    62000-64000 [] "First line.\nAfter a blank line."
    120000-121000 [] "No blank line above."
    240000-239000 [] "Backwards, 5 < 6, a --> b, <nothing>."
    180000-181000 [] ""
    300000-301000 [] "1984"
    line 1: text outside any cue was left out: `Subtitles by nobody`
    line 9: a blank line inside a cue was removed
    line 15: cannot read the times in `00:03:0x,000 --> 00:03:04,000`: the cue was left out
    line 19: the cue ends before it starts
    line 22: the cue starts before the one above it
    "#);
}

const WEBVTT: &str = "\
WEBVTT - A talk
Kind: captions

STYLE
::cue(.loud) { color: red }

REGION
id:top
lines:2

NOTE by hand

intro
00:01.000 --> 00:00:02.000 region:top align:start
<v Anna>Rock &amp; roll &lt;live&gt;&nbsp;!</v>

00:03.000 --> 00:04.500
<c.loud>One</c> <00:03.500>two
<ruby>漢<rt>kan</rt>字<rt>ji</rt></ruby> <lang fr>ici</lang>

NOTE the end
";

#[test]
fn webvtt_keeps_everything() {
    let (subtitles, warnings) = read(WEBVTT, Format::WebVtt);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(subtitles.header, " - A talk\nKind: captions");
    let notes: Vec<_> = subtitles.notes.iter().map(|note| (note.before, &note.text[..])).collect();
    let style = "STYLE\n::cue(.loud) { color: red }";
    assert_eq!(notes, [(0, style), (0, "REGION\nid:top\nlines:2"), (0, "NOTE by hand"), (2, "NOTE the end")]);
    assert_eq!(subtitles.cues[0].identifier, "intro");
    assert_eq!(subtitles.cues[0].text.shown(), "Rock & roll <live>\u{a0}!");
    assert_eq!(subtitles.cues[1].text.shown(), "One two\n漢字 ici");
    assert_eq!(subtitles.cues[1].text.0[4], Span::Time(Duration::from_millis(3500)));
    let hours = WEBVTT.replace("00:01.000 -->", "00:00:01.000 -->");
    let hours = hours.replace("00:03.000 --> 00:04.500", "00:00:03.000 --> 00:00:04.500");
    assert_eq!(subtitles.write(), hours.replace("<00:03.500>", "<00:00:03.500>"));
}

#[test]
fn malformed_webvtt_is_named_by_its_line() {
    let file = "\
WEBVTT
00:01.000 --> 00:02.000
I <3 you & me & <b>her
and
00:02.000 --> later
nobody
00:03.000 --> 00:04.000
text

more text

one
two
00:05.000 --> 00:06.000 line:0
x &#233; &bogus; <b
";
    insta::assert_snapshot!(summary(file, Format::WebVtt), @r#"
    1000-2000 [] "I <3 you & me & her\nand"
    3000-4000 [] "text"
    5000-6000 [line:0] "x é &bogus; <b"
    line 2: a cue without a blank line before it
    line 5: cannot read the times in `00:02.000 --> later`: the cue was left out
    line 10: a block without times was kept, but is not shown: `more text`
    line 12: a block without times was kept, but is not shown: `one`
    "#);
    assert_eq!(read("00:01.000 --> 00:02.000\nA", Format::WebVtt).1, ["line 1: the file does not start with WEBVTT"]);
}

#[test]
fn one_format_becomes_the_other() {
    let srt = "1\n00:00:01,000 --> 00:00:02,000 X1:1 X2:2 Y1:3 Y2:4\n{\\an8}<i>5 < 6</i>\n";
    let mut subtitles = read(srt, Format::Srt).0;
    subtitles.format = Format::WebVtt;
    assert_eq!(subtitles.write(), "WEBVTT\n\n00:00:01.000 --> 00:00:02.000 line:0\n<i>5 &lt; 6</i>\n");
    let mut subtitles = read(WEBVTT, Format::WebVtt).0;
    subtitles.format = Format::Srt;
    insta::assert_snapshot!(subtitles.write(), @r"
    1
    00:00:01,000 --> 00:00:02,000
    Rock & roll <live> !

    2
    00:00:03,000 --> 00:00:04,500
    One two
    漢字 ici
    ");
}

/// Text that a file of either format can hold.
fn plain() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-zé0-9♪&'?!. \u{a0}-]{0,9}[a-z0-9é♪][ .!?-]{0,3}", 1..4)
        .prop_map(|lines| lines.join("\n"))
}

fn text(format: Format) -> impl Strategy<Value = Text> {
    let tag = |name: &str, rest: &str| Span::Open(Tag { name: name.into(), rest: rest.into() });
    let (opened, closed) = match format {
        Format::Srt => (vec![tag("i", ""), tag("b", ""), tag("font", " color=\"red\"")], vec!["i", "b", "font"]),
        Format::WebVtt => (vec![tag("i", ""), tag("c", ".loud.red"), tag("v", " Anna B.")], vec!["i", "c", "v"]),
    };
    let other = match format {
        Format::Srt => Just(Span::Override("\\an8".into())).boxed(),
        Format::WebVtt => (0_u64..9_999_999).prop_map(|ms| Span::Time(Duration::from_millis(ms))).boxed(),
    };
    let mark = prop_oneof![
        proptest::sample::select(opened),
        proptest::sample::select(closed).prop_map(|name| Span::Close(name.into())),
        other,
    ];
    // Between two texts there is a mark: otherwise they would be one.
    (proptest::option::of(mark.clone()), proptest::collection::vec((plain(), mark), 0..4)).prop_map(|(first, rest)| {
        Text(first.into_iter().chain(rest.into_iter().flat_map(|(text, mark)| [Span::Text(text), mark])).collect())
    })
}

fn cues(format: Format) -> impl Strategy<Value = Vec<Cue>> {
    let (identifier, settings) = match format {
        Format::Srt => ("", "(X1:[0-9]{1,3} X2:9)?"),
        Format::WebVtt => ("([a-z0-9]{1,5})?", "(align:start|line:-1 position:10%)?"),
    };
    let cue = (identifier, 0_u64..100_000_000, 0_u64..10_000, settings, text(format));
    let cue = cue.prop_map(|(identifier, start, length, settings, text)| Cue {
        identifier,
        start: Duration::from_millis(start),
        end: Duration::from_millis(start + length),
        settings,
        text,
    });
    proptest::collection::vec(cue, 0..6)
}

/// A line such as files have, and such as they should not have.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ \t]{0,2}",
        "[0-9#.]{1,4}",
        "([0-9]{1,3}:){0,3}[0-9]{1,2}[.,]?[0-9]{0,4} ?--> ?([0-9]{1,2}:){0,3}[0-9]{1,2}[.,][0-9]{1,3}( [a-zX1]{1,3}:[0-9]%)?",
        "(NOTE|STYLE|REGION|WEBVTT)( \\PC{0,9})?",
        "(</?[a-z]{1,4}[. ]?[a-z]{0,4}>?|\\{\\\\an8\\}?|&[a-z#0-9]{1,5};?|[a-z]{1,5}|-->|\\PC){1,9}",
    ]
}

fn file() -> impl Strategy<Value = String> {
    let lines = proptest::collection::vec((line(), proptest::sample::select(vec!["\n", "\r\n", "\r"])), 0..30);
    (proptest::sample::select(vec!["", "WEBVTT\n\n", "WEBVTT "]), lines)
        .prop_map(|(start, lines)| start.to_owned() + &lines.into_iter().map(|(a, b)| a + b).collect::<String>())
}

proptest! {
    #[test]
    fn written_srt_is_read_again(cues in cues(Format::Srt)) {
        let subtitles = Subtitles { cues, ..Subtitles::new(Format::Srt) };
        let (again, warnings) = Subtitles::read(subtitles.write().as_bytes(), Format::Srt);
        prop_assert_eq!(again, subtitles);
        prop_assert!(warnings.iter().all(|warning| warning.problem == Problem::Order));
    }

    #[test]
    fn written_webvtt_is_read_again(
        cues in cues(Format::WebVtt),
        header in "( [a-z ]{0,9}[a-z])?(\n[a-z]: [a-z]{1,9})?",
    ) {
        let note = Note { before: cues.len() / 2, text: "NOTE\none\ntwo".into() };
        let subtitles = Subtitles { cues, header, notes: vec![note], ..Subtitles::new(Format::WebVtt) };
        let (again, warnings) = Subtitles::read(subtitles.write().as_bytes(), Format::WebVtt);
        prop_assert_eq!(again, subtitles);
        prop_assert!(warnings.iter().all(|warning| warning.problem == Problem::Order));
    }

    #[test]
    fn what_is_written_stays_the_same(file in file(), is_srt: bool) {
        let named = if is_srt { Format::Srt } else { Format::WebVtt };
        let (first, _) = Subtitles::read(file.as_bytes(), named);
        let written = first.write();
        let (second, _) = Subtitles::read(written.as_bytes(), first.format);
        prop_assert_eq!(second.write(), written);
        prop_assert_eq!(first.cues.len(), second.cues.len());
    }

    #[test]
    fn any_bytes_are_read(file in proptest::collection::vec(any::<u8>(), 0..200), marked in 0..3_usize) {
        let mark = [&b""[..], b"\xff\xfe", b"WEBVTT\n\n"][marked];
        let (subtitles, _) = Subtitles::read(&[mark, &file].concat(), Format::Srt);
        subtitles.write();
    }
}
