//! The header of a GGUF file: magic, version, counts, values by key, and for each tensor its name, shape, type and
//! place; the tensors follow, aligned. Versions 1 to 3; of big-endian files only the magic is checked.

mod fields;

use std::io::{Read, Seek};

use self::fields::{Fields, Kind};
use super::spans::{Spans, Taken};
use super::tensors::{self, block};
use super::{Refusal, at, shown};

const MAGIC: &[u8; 4] = b"GGUF";

/// Where tensors begin, unless the file says otherwise.
const ALIGNMENT: u64 = 32;

/// Values by key; models have some fifty.
const MOST_VALUES: u64 = 1 << 16;

const MOST_DIMENSIONS: u32 = 4;

/// The longest name that llama.cpp takes; other programs take longer ones.
const LONGEST_NAME: usize = 64;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of tensors.
    pub(super) tensors: u64,
    /// Its place in a set of files, where it is one.
    pub(super) split: Option<Split>,
    /// What is unusual, and may be wrong.
    pub(super) remark: Option<String>,
}

/// A file's place in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Counted from 0.
    pub(super) number: u64,
    /// Files in the set.
    pub(super) count: u64,
    /// Tensors in all of them.
    pub(super) tensors: Option<u64>,
}

/// What values say that matter here.
#[derive(Default)]
struct Values {
    alignment: Option<u64>,
    number: Option<u64>,
    count: Option<u64>,
    tensors: Option<u64>,
}

/// Reads the header of a file of a size. Only the header is read.
pub(crate) fn read(file: impl Read + Seek, size: u64) -> Result<Header, Refusal> {
    let mut fields = Fields::new(file, size);
    if &fields.bytes::<4>()? != MAGIC {
        return Err(at(0, "it does not begin with GGUF; it is no file of that format"));
    }
    let version = fields.u32()?;
    match version {
        1 => fields.narrow(),
        2 | 3 => {}
        _ if version.swap_bytes() <= 3 => {
            return Ok(Header {
                remark: Some("it is big-endian, and was not checked".to_owned()),
                ..Header::default()
            });
        }
        _ => return Err(at(4, format!("its version is {version}; those known are 1, 2 and 3"))),
    }
    let tensors = fields.count()?;
    let values = fields.count()?;
    if tensors > tensors::MOST as u64 || values > MOST_VALUES {
        return Err(at(
            8,
            format!("its header would name {tensors} tensors and {values} values, more than any; it is damaged"),
        ));
    }
    let mut said = Values::default();
    for _ in 0..values {
        value(&mut fields, &mut said)?;
    }
    let alignment = said.alignment.unwrap_or(ALIGNMENT);
    if alignment == 0 || alignment % 8 != 0 {
        return Err(at(
            fields.offset(),
            format!("its alignment is {alignment}, no multiple of 8"),
        ));
    }
    let mut places = Places {
        alignment,
        spans: Spans::default(),
        end: 0,
        end_of: String::new(),
        remark: None,
    };
    for _ in 0..tensors {
        places.tensor(&mut fields)?;
    }
    let start = fields.offset().next_multiple_of(alignment);
    let end = start.saturating_add(places.end);
    if tensors > 0 && end > size {
        return Err(at(
            size,
            format!(
                "tensor {} ends at byte {end}, but it has only {size} bytes; it is cut short",
                places.end_of
            ),
        ));
    }
    let split = said.count.filter(|count| *count > 1).map(|count| Split {
        number: said.number.unwrap_or_default(),
        count,
        tensors: said.tensors,
    });
    Ok(Header {
        tensors,
        split,
        remark: places.remark,
    })
}

fn value<F: Read + Seek>(fields: &mut Fields<F>, said: &mut Values) -> Result<(), Refusal> {
    let key = fields.name("a key")?;
    let kind = fields.kind()?;
    let wanted = match key.as_slice() {
        b"general.alignment" => &mut said.alignment,
        b"split.no" => &mut said.number,
        b"split.count" => &mut said.count,
        b"split.tensors.count" => &mut said.tensors,
        _ => return fields.skip_value(kind, 0),
    };
    let here = fields.offset();
    *wanted = Some(match kind {
        Kind::U16 => fields.u16()?.into(),
        Kind::U32 => fields.u32()?.into(),
        Kind::U64 => fields.u64()?,
        // Counts are written as signed numbers by some.
        Kind::I32 => {
            u64::try_from(fields.u32()?.cast_signed()).map_err(|_| at(here, format!("{} is negative", name(&key))))?
        }
        _ => return Err(at(here, format!("{} is no whole number", name(&key)))),
    });
    Ok(())
}

/// Where tensors are, after the header.
struct Places {
    alignment: u64,
    spans: Spans,
    end: u64,
    /// The tensor that ends there.
    end_of: String,
    remark: Option<String>,
}

impl Places {
    fn tensor<F: Read + Seek>(&mut self, fields: &mut Fields<F>) -> Result<(), Refusal> {
        let here = fields.offset();
        let bytes = fields.name("a tensor's name")?;
        let name = name(&bytes);
        let wrong = |cause: String| at(here, format!("tensor {name} {cause}"));
        if bytes.len() > LONGEST_NAME {
            self.remark = Some(format!(
                "it has names of more than {LONGEST_NAME} bytes, which llama.cpp refuses"
            ));
        }
        let dimensions = fields.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(wrong(format!(
                "has {dimensions} dimensions, more than {MOST_DIMENSIONS}"
            )));
        }
        let (mut row, mut elements) = (1, Some(1_u64));
        for dimension in 0..dimensions {
            let extent = fields.count()?;
            if dimension == 0 {
                row = extent;
            }
            elements = elements.and_then(|elements| elements.checked_mul(extent));
        }
        let kind = fields.u32()?;
        let offset = fields.u64()?;
        if offset % self.alignment != 0 {
            let alignment = self.alignment;
            return Err(wrong(format!(
                "begins at {offset}, which is not aligned to {alignment}"
            )));
        }
        let elements = elements.ok_or_else(|| wrong("has more elements than can be counted".to_owned()))?;
        let bytes = match block(kind) {
            None => {
                self.remark = Some(format!("it has tensors of type {kind}, which is not known here"));
                0
            }
            Some((length, _)) if row % length != 0 => {
                return Err(wrong(format!("has rows of {row} elements, no multiple of {length}")));
            }
            Some((length, bytes)) => (elements / length)
                .checked_mul(bytes)
                .ok_or_else(|| wrong("has more bytes than can be counted".to_owned()))?,
        };
        let end = offset
            .checked_add(bytes)
            .ok_or_else(|| wrong("ends where no file does".to_owned()))?;
        self.spans.take(offset, end).map_err(|taken| match taken {
            Taken::At(_) => wrong("overlaps another".to_owned()),
            Taken::Scattered => wrong("is one of too many that lie apart".to_owned()),
        })?;
        if end >= self.end {
            self.end = end;
            self.end_of = name;
        }
        Ok(())
    }
}

fn name(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}
