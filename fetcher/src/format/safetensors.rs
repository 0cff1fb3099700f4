//! The header of a safetensors file: eight bytes with its length, JSON that names every tensor with its type, shape
//! and place, then the tensors, one after the other up to the last byte. So the header tells whether the file is
//! whole.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::Json;
use super::spans::{Spans, Taken};
use super::tensors;
use super::tensors::{NameHash, bits};
use super::{Malformed, Refusal, at, shown};

/// Bytes of the longest header, as the format's own library has it.
const LONGEST_HEADER: u64 = 100_000_000;

/// Bytes before the header.
const LENGTH: u64 = 8;

/// What a header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of all tensors.
    pub(super) bytes: u64,
    /// Their names, sorted.
    pub(super) names: Vec<NameHash>,
    /// A type that is not known here.
    pub(super) unknown: Option<String>,
}

/// Reads the header of a file of a size. Only the header is read.
pub(crate) fn read(mut file: impl Read, size: u64) -> Result<Header, Refusal> {
    if size < LENGTH {
        return Err(at(size, "it ends before the length of its header; it is cut short"));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let header = u64::from_le_bytes(length);
    if &length == b"version " {
        return Err(at(0, "it is a pointer of git's large file store, not the file itself"));
    }
    if header > LONGEST_HEADER {
        return Err(at(
            0,
            format!("its header would be {header} bytes long, more than any; it is no safetensors file"),
        ));
    }
    let start = LENGTH + header;
    if start > size {
        return Err(at(
            size,
            format!("its header ends at byte {start}, but it has only {size} bytes; it is cut short"),
        ));
    }
    let mut json = Json::new(file.take(header), LENGTH);
    if json.peek()? != Some(b'{') {
        return Err(at(
            LENGTH,
            "its header does not begin with {; it is no safetensors file",
        ));
    }
    let mut tensors = Tensors {
        start,
        header: Header::default(),
        spans: Spans::default(),
        malformed: None,
    };
    let mut deserializer = serde_json::Deserializer::from_reader(&mut json);
    let read = (&mut tensors)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    if let Some(malformed) = tensors.malformed {
        return Err(Refusal::Malformed(malformed));
    }
    read.map_err(|error| json.refusal(error, "its header"))?;
    tensors.finish(size)
}

/// What is gathered while the header is read.
struct Tensors {
    /// Where the bytes of tensors begin.
    start: u64,
    header: Header,
    spans: Spans,
    /// What ended the reading.
    malformed: Option<Malformed>,
}

/// One tensor, without its name.
#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Elements,
    data_offsets: (u64, u64),
}

/// How many elements a shape holds; `None` when that is no number of 64 bits.
struct Elements(Option<u64>);

impl Tensors {
    /// Takes in one tensor; what is wrong with it, and where.
    fn add(&mut self, name: &str, tensor: &Tensor) -> Result<(), Malformed> {
        let (begin, end) = tensor.data_offsets;
        let here = self.start.saturating_add(begin);
        let wrong = |cause: String| Malformed {
            offset: Some(here),
            cause: format!("tensor {} {cause}", shown(name)),
        };
        if end < begin {
            return Err(wrong(format!("ends at {end}, before its begin at {begin}")));
        }
        match (bits(&tensor.dtype), tensor.shape.0) {
            (_, None) => return Err(wrong("has more elements than can be counted".to_owned())),
            (None, Some(_)) => self.header.unknown = Some(tensor.dtype.chars().take(32).collect()),
            (Some(bits), Some(elements)) => {
                let whole = elements.checked_mul(bits).filter(|bits| bits % 8 == 0);
                let bytes = whole.ok_or_else(|| wrong("has no whole number of bytes".to_owned()))? / 8;
                if bytes != end - begin {
                    let (dtype, has) = (&tensor.dtype, end - begin);
                    return Err(wrong(format!(
                        "has {elements} elements of {dtype}, which are {bytes} bytes, but a place of {has}"
                    )));
                }
            }
        }
        self.spans.take(begin, end).map_err(|taken| match taken {
            Taken::At(byte) => Malformed {
                offset: Some(self.start.saturating_add(byte)),
                cause: format!("tensor {} overlaps another", shown(name)),
            },
            Taken::Scattered => wrong("is one of too many that lie apart".to_owned()),
        })?;
        if self.header.names.len() >= tensors::MOST {
            return Err(wrong("is one too many".to_owned()));
        }
        self.header.names.push(NameHash::of(name));
        // Checked at the end against the size: more than there is means that the file was cut short.
        Ok(())
    }

    fn finish(self, size: u64) -> Result<Header, Refusal> {
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
                format!("its last tensor ends at byte {last}, but it has only {size} bytes; it is cut short"),
            ));
        }
        if free < data {
            return Err(at(start + free, "the bytes from here on belong to no tensor"));
        }
        header.names.sort_unstable();
        if header.names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(at(LENGTH, "its header names a tensor twice"));
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

/// Names and texts, which are not kept.
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
