//! Sound files, built field by field, and the faults of changed ones.

mod folders;
mod gguf;
mod index;
mod made;
mod safetensors;

use std::fs;
use std::io::Cursor;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{Contents, Findings, Held, Malformed, ParseError, check};
use crate::model::path::FilePath;

/// A safetensors file with a header and `data` bytes of tensors.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + data, 7);
    file
}

/// A safetensors file with tensors of bytes, one after the other.
fn of_bytes(tensors: &[(&str, u64)]) -> Vec<u8> {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, bytes) in tensors {
        let tensor = serde_json::json!({"dtype": "U8", "shape": [bytes], "data_offsets": [end, end + bytes]});
        header.insert((*name).to_owned(), tensor);
        end += bytes;
    }
    with_header(
        &serde_json::Value::Object(header).to_string(),
        usize::try_from(end).unwrap(),
    )
}

/// A GGUF file, field by field.
struct Gguf {
    version: u32,
    values: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<GgufTensor>,
    alignment: u64,
    data: usize,
}

#[derive(Clone)]
struct GgufTensor {
    name: String,
    extents: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl Gguf {
    /// A file with tensors of 32 numbers each, one after the other.
    fn new(tensors: &[&str]) -> Self {
        let tensor = |(name, number): (&&str, u64)| GgufTensor {
            name: (*name).to_owned(),
            extents: vec![8, 4],
            kind: 0,
            offset: number * 128,
        };
        Self {
            version: 3,
            values: vec![("general.architecture".to_owned(), 8, text("llama"))],
            tensors: tensors.iter().zip(0..).map(tensor).collect(),
            alignment: 32,
            data: tensors.len() * 128,
        }
    }

    fn with(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.values.push((key.to_owned(), kind, value.to_owned()));
        self
    }

    /// File `number`, from 0, of `count` files with `tensors` tensors in all.
    fn split(self, number: u16, count: u16, tensors: i32) -> Self {
        self.with("split.no", 2, &number.to_le_bytes())
            .with("split.count", 2, &count.to_le_bytes())
            .with("split.tensors.count", 5, &tensors.to_le_bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        let count = |out: &mut Vec<u8>, count: usize| match self.version {
            1 => out.extend(u32::try_from(count).unwrap().to_le_bytes()),
            _ => out.extend((count as u64).to_le_bytes()),
        };
        count(&mut out, self.tensors.len());
        count(&mut out, self.values.len());
        for (key, kind, value) in &self.values {
            count(&mut out, key.len());
            out.extend(key.as_bytes());
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        for tensor in &self.tensors {
            count(&mut out, tensor.name.len());
            out.extend(tensor.name.as_bytes());
            out.extend(u32::try_from(tensor.extents.len()).unwrap().to_le_bytes());
            for extent in &tensor.extents {
                count(&mut out, usize::try_from(*extent).unwrap());
            }
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        let start = (out.len() as u64).next_multiple_of(self.alignment);
        out.resize(usize::try_from(start).unwrap() + self.data, 7);
        out
    }
}

/// A text as versions 2 and 3 encode it.
fn text(text: &str) -> Vec<u8> {
    [(text.len() as u64).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

fn read_gguf(file: &[u8]) -> Result<super::gguf::Header, Malformed> {
    malformed(super::gguf::read(Cursor::new(file), file.len() as u64))
}

fn read_safetensors(file: &[u8]) -> Result<super::safetensors::Header, Malformed> {
    malformed(super::safetensors::read(file, file.len() as u64))
}

/// The error of parsing from memory, where reading cannot fail.
fn malformed<T>(result: Result<T, ParseError>) -> Result<T, Malformed> {
    result.map_err(|error| match error {
        ParseError::Malformed(malformed) => malformed,
        ParseError::Unreadable(error) => panic!("{error}"),
    })
}

/// The findings in a folder with these files.
fn found(files: &[(&str, Vec<u8>)], left_out: Option<&[&str]>) -> Findings {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = files.iter().map(|(path, _)| FilePath::parse(path).unwrap()).collect();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let left_out: Option<Vec<_>> =
        left_out.map(|paths| paths.iter().map(|path| FilePath::parse(path).unwrap()).collect());
    let contents = Contents {
        folder: folder.path(),
        files: paths
            .iter()
            .zip(files)
            .map(|(path, (_, bytes))| Held {
                path,
                place: path,
                size: bytes.len() as u64,
            })
            .collect(),
        left_out: left_out.as_ref().map(|paths| paths.iter().collect()),
    };
    check(&contents, &CancellationToken::new()).unwrap()
}

proptest! {
    #[test]
    fn no_parser_panics_at_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_safetensors(&bytes);
        let _ = read_gguf(&bytes);
        let _ = malformed(super::index::read(bytes.as_slice(), &mut |_, _| Ok(())));
    }

    #[test]
    fn no_parser_panics_at_a_file_with_changed_bytes(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut safetensors = of_bytes(&[("a", 3), ("b", 5)]);
        let mut gguf = Gguf::new(&["a", "b"]).split(0, 2, 2).bytes();
        for (at, byte) in changes {
            let place = at.index(safetensors.len());
            safetensors[place] = byte;
            let place = at.index(gguf.len());
            gguf[place] = byte;
        }
        let _ = read_safetensors(&safetensors);
        let _ = read_gguf(&gguf);
    }
}
