//! GGUF files that are wrong, each in its own way.

use crate::builder::{ARRAY, File, STRING, U32, array, sample, string};

/// Name and bytes of files that must be refused.
pub(crate) fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let file = || File::new(64);
    let tensor = |dimensions: &[u64], kind, offset| file().tensor("t", dimensions, kind, offset).bytes();
    let key = |kind, value: &[u8]| File::new(0).key("k", kind, value).bytes();
    let most = u64::MAX;
    let deep = (0..20).fold(array(U32, 0, &[]), |inner, _| array(ARRAY, 1, &inner));
    let version = |version| File { version, ..File::new(0) }.bytes();
    let twice = file().key("k", U32, &[0; 4]).key("j", U32, &[0; 4]).key("k", U32, &[0; 4]);
    vec![
        ("magic alone", b"GGUF".to_vec()),
        ("header cut", sample().bytes()[..20].to_vec()),
        ("version 1", version(1)),
        ("version 4", version(4)),
        ("big-endian", version(3u32.swap_bytes())),
        ("tensors overflow", file().claiming(most, 0)),
        ("keys overflow", file().claiming(0, most)),
        ("more tensors than fit", file().claiming(3, 0)),
        ("more tensors than there are", File::new(320).tensor("t", &[8], 0, 0).claiming(2, 0)),
        (
            "key of 2^63 bytes",
            [&version(3)[..16], &[1, 0, 0, 0, 0, 0, 0, 0], &(1u64 << 63).to_le_bytes(), &[0; 9]].concat(),
        ),
        ("key is not UTF-8", File::new(0).key(b"a\xff", U32, &[0; 4]).bytes()),
        ("key twice", twice.bytes()),
        ("unknown metadata type", key(13, &[0; 16])),
        ("bool of 2", key(7, &[2])),
        ("value cut", key(10, &[0; 5])),
        ("string beyond the file", key(STRING, &100u64.to_le_bytes())),
        ("string of 2^64 - 1 bytes", key(STRING, &most.to_le_bytes())),
        ("array of 2^64 - 1 strings", key(ARRAY, &array(STRING, most, &[]))),
        ("array of 2^61 u64s", key(ARRAY, &array(10, 1 << 61, &[0; 64]))),
        ("array of more than there is", key(ARRAY, &array(U32, 5, &[0; 16]))),
        ("array with a string cut", key(ARRAY, &array(STRING, 2, &[string("a"), string("bc")].concat()[..17]))),
        ("array of an unknown type", key(ARRAY, &array(77, 0, &[]))),
        ("arrays 20 deep", key(ARRAY, &deep)),
        ("alignment 0", file().key("general.alignment", U32, &[0; 4]).bytes()),
        ("alignment 48", file().key("general.alignment", U32, &48u32.to_le_bytes()).bytes()),
        ("alignment is a string", file().key("general.alignment", STRING, &string("32")).bytes()),
        (
            "alignment beyond the file",
            file().key("general.alignment", U32, &(1u32 << 31).to_le_bytes()).tensor("t", &[8], 0, 0).bytes(),
        ),
        ("tensor name is not UTF-8", file().tensor(b"\xc0\x80", &[8], 0, 0).bytes()),
        ("tensor twice", file().tensor("t", &[8], 0, 0).tensor("t", &[8], 0, 32).bytes()),
        ("tensors overlap", file().tensor("t", &[9], 0, 0).tensor("u", &[7], 0, 32).bytes()),
        ("no dimensions", tensor(&[], 0, 0)),
        ("5 dimensions", tensor(&[1, 1, 1, 1, 1], 0, 0)),
        ("2^32 - 1 dimensions", {
            let mut bytes = tensor(&[1], 0, 0);
            bytes[24 + 9..24 + 13].fill(255);
            bytes
        }),
        ("dimension 0", tensor(&[8, 0], 0, 0)),
        ("dimensions overflow", tensor(&[1 << 32, 1 << 32], 0, 0)),
        ("bytes overflow", tensor(&[1 << 62], 0, 0)),
        ("larger than the file", tensor(&[1 << 40], 8, 0)),
        ("unknown type", tensor(&[8], 99, 0)),
        ("type of llama.cpp that is not read", tensor(&[256], 16, 0)),
        ("row is not whole blocks", tensor(&[33], 8, 0)),
        ("row is not whole super-blocks", tensor(&[128, 2], 12, 0)),
        ("offset unaligned", tensor(&[8], 0, 4)),
        ("offset beyond the file", tensor(&[8], 0, 64)),
        ("end beyond the file", tensor(&[16], 0, 32)),
        ("offset overflows", tensor(&[8], 0, most - 31)),
        ("i2_s without its scale", tensor(&[128, 2], 36, 0)),
        ("integers beyond the file", tensor(&[100], 26, 0)),
        ("part of several", File::new(0).key("split.count", U32, &2u32.to_le_bytes()).bytes()),
    ]
}
