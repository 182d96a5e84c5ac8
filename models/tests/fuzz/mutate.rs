//! Damaged variants of files: bytes and numbers overwritten, parts cut out, repeated, or taken from another file. The
//! same seed makes the same variant.

/// Numbers at the borders of what integers, counts and offsets can be.
const NUMBERS: [u64; 14] =
    [0, 1, 2, 7, 32, 127, 255, 256, 65_535, 1 << 20, i32::MAX as u64, u32::MAX as u64, 1 << 61, u64::MAX];

/// Words of the formats.
const WORDS: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e999",
    "4294967295",
    "999999999999",
    "for",
    "endfor",
    "if",
    "endif",
    "set ns.x = ",
    "macro m()",
    "loop.index",
    "range(",
    "(",
    ")",
    "|",
    "* 1000000",
    "~",
    "messages",
    "raise_exception(",
    "generation",
    "\u{10ffff}",
    "<0x00>",
    "\\u0000",
    " --> ",
    "00:00:01,000",
    "99:59:59.999",
    "\n\n",
    "\r\n",
    "WEBVTT",
    "NOTE",
    "<i>",
    "</v>",
    "{\\an8}",
    "&amp;",
    "♪",
];

/// Makes one variant.
pub(crate) struct Mutator(u64);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A place in `bytes`, or its end. The beginning, where headers are, comes up most.
    fn place(&mut self, bytes: &[u8]) -> usize {
        let end = bytes.len() + 1;
        let end = *self.one_of(&[end, end, end.min(64), end.min(512), end.min(4096)]);
        self.below(end)
    }

    /// A part of `bytes`, short ones most.
    fn part(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(bytes);
        let most = *self.one_of(&[2, 8, 64, 1024]);
        start..(start + 1 + self.below(most)).min(bytes.len()).max(start)
    }

    /// A damaged one of `seeds`.
    pub(crate) fn variant(mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one_of(seeds).clone();
        let most = *self.one_of(&[1, 3, 8]);
        for _ in 0..=self.below(most) {
            self.damage(&mut bytes, seeds);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.place(bytes);
        match self.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.next() as u8,
            // A number in 1, 2, 4 or 8 bytes.
            2 | 3 => {
                let width = *self.one_of(&[1, 2, 4, 8]);
                let number = self.one_of(&NUMBERS).wrapping_add(*self.one_of(&[0, 0, 0, 1, u64::MAX]));
                let end = (at + width).min(bytes.len());
                let from = number.to_le_bytes();
                bytes[at..end].iter_mut().zip(from).for_each(|(byte, new)| *byte = new);
            }
            4 => drop(bytes.drain(self.part(bytes))),
            5 => {
                let part = bytes[self.part(bytes)].to_vec();
                drop(bytes.splice(at..at, part));
            }
            6 => {
                let other = self.one_of(seeds);
                let part = other[self.part(other)].to_vec();
                let end = if self.below(2) == 0 { at } else { (at + part.len()).min(bytes.len()) };
                drop(bytes.splice(at..end, part));
            }
            7 => {
                let word = self.one_of(WORDS).bytes();
                let end = if self.below(2) == 0 { at } else { (at + word.len()).min(bytes.len()) };
                drop(bytes.splice(at..end, word));
            }
            8 if self.below(4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
}
