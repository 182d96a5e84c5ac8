//! GGUF files for tests, written byte by byte and right or wrong as asked.

/// Types of metadata.
pub(crate) const U32: u32 = 4;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// A file under construction.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) version: u32,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Vec<u8>>,
    pub(crate) data: usize,
}

/// u64 length, bytes.
pub(crate) fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

/// The value of an array: element type, count, elements.
pub(crate) fn array(element: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&element.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

impl File {
    /// A file with `data` bytes of zeros.
    pub(crate) fn new(data: usize) -> Self {
        Self { version: 3, keys: Vec::new(), tensors: Vec::new(), data }
    }

    pub(crate) fn key(mut self, key: impl AsRef<[u8]>, kind: u32, value: &[u8]) -> Self {
        self.keys.push([&string(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    /// `dimensions`: fastest first.
    pub(crate) fn tensor(mut self, name: impl AsRef<[u8]>, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        let mut entry = string(name);
        entry.extend((dimensions.len() as u32).to_le_bytes());
        entry.extend(dimensions.iter().flat_map(|d| d.to_le_bytes()));
        entry.extend(kind.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.claiming(self.tensors.len() as u64, self.keys.len() as u64)
    }

    /// The file with these counts in its header.
    pub(crate) fn claiming(&self, tensors: u64, keys: u64) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        if self.data > 0 {
            bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
        }
        bytes
    }
}

/// A valid file with something of everything.
pub(crate) fn sample() -> File {
    let tokens = [string("<unk>"), string("a"), string("")].concat();
    File::new(32 * 36)
        .key("general.architecture", STRING, &string("llama"))
        .key("llama.block_count", U32, &2u32.to_le_bytes())
        .key("tokenizer.ggml.tokens", ARRAY, &array(STRING, 3, &tokens))
        .key("tokenizer.ggml.scores", ARRAY, &array(6, 2, &[0; 8]))
        .key("nested", ARRAY, &array(ARRAY, 2, &[array(U32, 1, &[7, 0, 0, 0]), array(STRING, 0, &[])].concat()))
        .tensor("norm", &[8], 0, 0)
        .tensor("matrix", &[64, 4], 8, 32)
        .tensor("half", &[3, 2], 1, 320)
        .tensor("k", &[256, 2], 12, 352)
}
