//! Checksums of the hub: a file's etag is the name of its blob in the cache and the hash of its content.

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The hash of a file's content as the hub announces it: 64 hexadecimal digits of SHA-256 for large files, 40 of
/// git's SHA-1 for small ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Etag(String);

impl Etag {
    /// Takes an `ETag` header's value, quotes and weakness mark included. Anything but a hash is refused: it could not
    /// be verified, and it becomes a file name.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let value = value.strip_prefix("W/").unwrap_or(value).trim_matches('"').to_ascii_lowercase();
        (matches!(value.len(), 40 | 64) && is_hex(&value)).then_some(Self(value))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A hasher for a content of `size` bytes (git's hash begins with the length).
    pub(crate) fn hasher(&self, size: u64) -> Hasher {
        if self.0.len() == 64 {
            Hasher::Sha256(Sha256::new())
        } else {
            Hasher::Git(Sha1::new_with_prefix(format!("blob {size}\0")))
        }
    }
}

/// Whether `text` is a commit: 40 lower-case hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Hashes a content piece by piece, in the way its [`Etag`] was made.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    /// The hash, in hexadecimal.
    pub(crate) fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Git(hasher) => hex(&hasher.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(etag: &Etag, content: &[u8]) -> String {
        let mut hasher = etag.hasher(content.len() as u64);
        content.chunks(3).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    }

    #[test]
    fn hashes_of_the_standards() {
        // FIPS 180-4's example for SHA-256; `printf 'hello\n' | git hash-object --stdin`.
        let sha256 = Etag::parse("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        assert_eq!(hash(&sha256, b"abc"), sha256.as_str());
        let git = Etag::parse("\"ce013625030ba8dba906f756967f9e9ca394464a\"").unwrap();
        assert_eq!(hash(&git, b"hello\n"), git.as_str());
    }

    #[test]
    fn only_hashes_are_etags() {
        let git = "CE013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(Etag::parse(&format!("W/\"{git}\"")).unwrap().as_str(), git.to_lowercase());
        for bad in
            ["", "\"\"", "../../etc/passwd", "d41d8cd98f00b204e9800998ecf8427e", &"g".repeat(64), &"é".repeat(20)]
        {
            assert_eq!(Etag::parse(bad), None, "{bad}");
        }
    }
}
