//! Files of other programs, in `made/`: `library.safetensors` is from the Python package safetensors 0.8.0, the GGUF files
//! are from the package gguf 0.19.0. The set is split after two tensors.

use pretty_assertions::assert_eq;

use super::{found, read_gguf, read_safetensors};

const SAFETENSORS: &[u8] = include_bytes!("made/library.safetensors");
const GGUF: &[u8] = include_bytes!("made/library.gguf");
const ONE: &[u8] = include_bytes!("made/set-00001-of-00002.gguf");
const TWO: &[u8] = include_bytes!("made/set-00002-of-00002.gguf");

#[test]
fn what_the_libraries_write_is_sound() {
    let safetensors = read_safetensors(SAFETENSORS).unwrap();
    assert_eq!(
        (safetensors.names.len(), safetensors.bytes, safetensors.unknown),
        (5, 73, None)
    );
    let gguf = read_gguf(GGUF).unwrap();
    assert_eq!((gguf.tensors, gguf.split, gguf.remark), (3, None, None));
    let set = [
        ("set-00001-of-00002.gguf", ONE.to_vec()),
        ("set-00002-of-00002.gguf", TWO.to_vec()),
    ];
    let found = found(&set, Some(&[]));
    assert_eq!((found.faults, found.remarks), (vec![], vec![]));
    assert_eq!(
        read_gguf(TWO)
            .unwrap()
            .split
            .map(|split| (split.number, split.count, split.tensors)),
        Some((1, 2, Some(3)))
    );
}

#[test]
fn no_beginning_of_what_the_libraries_write_is_sound() {
    for length in 0..SAFETENSORS.len() {
        assert!(read_safetensors(&SAFETENSORS[..length]).is_err(), "{length}");
    }
    // Up to 32 bytes of padding follow the last tensor.
    for length in 0..GGUF.len() - 32 {
        assert!(read_gguf(&GGUF[..length]).is_err(), "{length}");
    }
}
