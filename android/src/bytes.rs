//! How records cross to Java: big-endian numbers and counted UTF-8, as `java.io.DataInput` reads them.

/// A record under way.
#[derive(Default)]
pub(crate) struct Record(Vec<u8>);

impl Record {
    pub(crate) fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn long(mut self, value: u64) -> Self {
        self.0.extend(i64::try_from(value).unwrap_or(i64::MAX).to_be_bytes());
        self
    }

    pub(crate) fn double(mut self, value: f64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        // Longer than an array of Java can be: cut, at a character.
        let text = &text[..text.floor_char_boundary(i32::MAX as usize / 2)];
        self = self.int(text.len() as i32);
        self.0.extend(text.as_bytes());
        self
    }

    /// How many records follow, and these.
    pub(crate) fn list<T>(self, items: &[T], each: impl Fn(Self, &T) -> Self) -> Self {
        let count = self.int(items.len() as i32);
        items.iter().fold(count, each)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_what_data_input_reads() {
        let record = Record::default().byte(7).int(-2).long(u64::MAX).double(1.5).text("a\0é");
        let expected = [
            &[7][..],
            &[0xff, 0xff, 0xff, 0xfe],
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 4, b'a', 0, 0xc3, 0xa9],
        ];
        assert_eq!(record.into_bytes(), expected.concat());
    }
}
