//! Parser of the header of a safetensors file.
//!
//! A file has eight bytes with the length of the header, a header in JSON that names every tensor with its type, shape
//! and offsets, then the tensors, without gaps up to the last byte. So the header shows whether the file is complete.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::Json;
use super::spans::{Rejected, Spans};
use super::tensors;
use super::tensors::{NameHash, bits};
use super::{Malformed, ParseError, at, quoted};

/// Maximum length of a header, from the format's own library.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes of the length before the header.
const LENGTH_BYTES: u64 = 8;

/// The parsed header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of all tensors.
    pub(super) bytes: u64,
    /// Hashes of the names of all tensors, sorted.
    pub(super) names: Vec<NameHash>,
    /// An unknown type of a tensor.
    pub(super) unknown: Option<String>,
}

/// Parses the header of a file of `size` bytes. Reads only the header.
pub(crate) fn read(mut file: impl Read, size: u64) -> Result<Header, ParseError> {
    if size < LENGTH_BYTES {
        return Err(at(size, "it ends before the length of its header; it is truncated"));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let header = u64::from_le_bytes(length);
    if &length == b"version " {
        return Err(at(0, "it is a Git LFS pointer, not the file itself"));
    }
    if header > MAX_HEADER_BYTES {
        return Err(at(
            0,
            format!("its header would have {header} bytes, more than the format allows; it is not a safetensors file"),
        ));
    }
    let start = LENGTH_BYTES + header;
    if start > size {
        return Err(at(
            size,
            format!("its header ends at byte {start}, but the file has only {size} bytes; it is truncated"),
        ));
    }
    let mut json = Json::new(file.take(header), LENGTH_BYTES);
    if json.peek()? != Some(b'{') {
        return Err(at(
            LENGTH_BYTES,
            "its header does not begin with {; it is not a safetensors file",
        ));
    }
    let mut tensors = Tensors {
        start,
        header: Header::default(),
        spans: Spans::default(),
        malformed: None,
    };
    let mut deserializer = serde_json::Deserializer::from_reader(&mut json);
    let parsed = (&mut tensors)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    if let Some(malformed) = tensors.malformed {
        return Err(ParseError::Malformed(malformed));
    }
    parsed.map_err(|error| json.parse_error(error, "its header"))?;
    tensors.finish(size)
}

/// The state of the parser.
struct Tensors {
    /// Offset of the first tensor.
    start: u64,
    header: Header,
    spans: Spans,
    /// The error that ended the parsing.
    malformed: Option<Malformed>,
}

/// An entry of the header, without the name of the tensor.
#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Elements,
    data_offsets: (u64, u64),
}

/// Number of elements of a shape; `None` if it exceeds 64 bits.
struct Elements(Option<u64>);

impl Tensors {
    /// Adds one tensor, or returns what is wrong with it.
    fn add(&mut self, name: &str, tensor: &Tensor) -> Result<(), Malformed> {
        let (begin, end) = tensor.data_offsets;
        let here = self.start.saturating_add(begin);
        let wrong = |cause: String| Malformed {
            offset: Some(here),
            cause: format!("tensor {} {cause}", quoted(name)),
        };
        if end < begin {
            return Err(wrong(format!("ends at {end}, before its start at {begin}")));
        }
        match (bits(&tensor.dtype), tensor.shape.0) {
            (_, None) => return Err(wrong("has too many elements to count".to_owned())),
            (None, Some(_)) => self.header.unknown = Some(tensor.dtype.chars().take(32).collect()),
            (Some(bits), Some(elements)) => {
                let whole = elements.checked_mul(bits).filter(|bits| bits % 8 == 0);
                let bytes = whole.ok_or_else(|| wrong("does not fill whole bytes".to_owned()))? / 8;
                if bytes != end - begin {
                    let (dtype, actual) = (&tensor.dtype, end - begin);
                    return Err(wrong(format!(
                        "has {elements} elements of {dtype}, which take {bytes} bytes, but its offsets span {actual}"
                    )));
                }
            }
        }
        // The end is not compared with the file size here, but once, after the last tensor.
        self.spans.add(begin, end).map_err(|rejected| match rejected {
            Rejected::Overlap(byte) => Malformed {
                offset: Some(self.start.saturating_add(byte)),
                cause: format!("tensor {} overlaps another", quoted(name)),
            },
            Rejected::TooMany => wrong("is one of too many with gaps between them".to_owned()),
        })?;
        if self.header.names.len() >= tensors::MAX_TENSORS {
            return Err(wrong("is one too many".to_owned()));
        }
        self.header.names.push(NameHash::of(name));
        Ok(())
    }

    /// Checks all tensors together.
    fn finish(self, size: u64) -> Result<Header, ParseError> {
        let Self {
            start,
            mut header,
            spans,
            ..
        } = self;
        let (free, end) = (spans.first_free(), spans.end());
        let (last, data) = (start.saturating_add(end), size - start);
        if end > data {
            return Err(at(
                size,
                format!("its last tensor ends at byte {last}, but the file has only {size} bytes; it is truncated"),
            ));
        }
        if free < data {
            return Err(at(start + free, "the bytes from here on belong to no tensor"));
        }
        header.names.sort_unstable();
        if header.names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(at(LENGTH_BYTES, "its header names a tensor twice"));
        }
        header.bytes = end;
        Ok(header)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Tensors {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Tensors {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that names tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<Option<Texts>>()?;
                continue;
            }
            let tensor = map.next_value::<Tensor>()?;
            if let Err(malformed) = self.add(&name, &tensor) {
                self.malformed = Some(malformed);
                return Err(A::Error::custom("malformed"));
            }
        }
        Ok(())
    }
}

/// An object of strings, which is validated and discarded.
struct Texts;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                while map.next_entry::<IgnoredAny, String>()?.is_some() {}
                Ok(Texts)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Elements;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shape: a list of whole numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut shape: A) -> Result<Elements, A::Error> {
                let mut elements = Some(1_u64);
                while let Some(extent) = shape.next_element::<u64>()? {
                    elements = elements.and_then(|elements| elements.checked_mul(extent));
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Shape)
    }
}
