//! The line with a cue's times: `00:01:02,500 --> 00:01:04,000`, as files really have it.

use std::time::Duration;

/// What stands between two times.
pub(super) const ARROW: &str = "-->";

/// The two times of a line, and what follows them. `None` unless the line is that.
pub(super) fn parse_line(line: &str) -> Option<(Duration, Duration, &str)> {
    let (start, rest) = line.split_once(ARROW)?;
    let rest = rest.trim_start();
    let end = rest.find([' ', '\t']).unwrap_or(rest.len());
    let (end, settings) = rest.split_at(end);
    Some((parse(start.trim())?, parse(end.trim())?, settings.trim()))
}

/// A time of two or three parts: hours may be missing, the fraction too; its mark is a comma or a full stop.
pub(super) fn parse(time: &str) -> Option<Duration> {
    let (whole, fraction) = time.split_once([',', '.']).unwrap_or((time, ""));
    let mut parts = whole.split(':').rev();
    let mut seconds = number(parts.next()?)?;
    seconds += 60 * number(parts.next()?)?;
    if let Some(hours) = parts.next() {
        seconds += 3600 * number(hours)?;
    }
    if parts.next().is_some() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digit = |i: usize| fraction.as_bytes().get(i).map_or(0, |b| u64::from(b - b'0'));
    Some(Duration::from_millis(1000 * seconds + 100 * digit(0) + 10 * digit(1) + digit(2)))
}

/// A number of at most seven digits: a thousand years of hours.
fn number(digits: &str) -> Option<u64> {
    let plausible = (1..=7).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plausible { digits.parse().ok() } else { None }
}

/// `time` with hours, in milliseconds after the mark `point`.
pub(super) fn format(time: Duration, point: char) -> String {
    let millis = (time.as_nanos() + 500_000) / 1_000_000;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!("{:02}:{:02}:{seconds:02}{point}{millis:03}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_all_the_ways_they_are_written() {
        for (text, millis) in [
            ("00:00:01,000", 1000),
            ("00:00:01.000", 1000),
            ("01:02,5", 62_500),
            ("1:02:03", 3_723_000),
            ("00:00:00,0409", 40),
            ("100:00:00.000", 360_000_000),
            ("00:75:61.001", 4_561_001),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "1", "a:b", "00:00:-1,000", "1:2:3:4", "00:00:01,0x", "99999999:00:00", "00:00:01 ,000", "::"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn written_times_have_every_part() {
        assert_eq!(format(Duration::from_millis(3_723_045), ','), "01:02:03,045");
        assert_eq!(format(Duration::from_micros(999_600), '.'), "00:00:01.000");
        assert_eq!(format(Duration::from_secs(400_000), '.'), "111:06:40.000");
    }
}
