//! The header of a GGUF file: magic, version, counts, values by key, and for each tensor its name, shape, type and
//! place; the tensors follow in that order, each padded to the alignment. Versions 1 to 3; of big-endian files only the
//! magic is checked.
//!
//! What llama.cpp refuses as damage is refused here, too. What the format allows and only llama.cpp does not read is
//! remarked: other programs do.

mod fields;

use std::collections::HashSet;
use std::io::{Read, Seek};

use self::fields::{Fields, Kind};
use super::tensors;
use super::tensors::{NameHash, block};
use super::{Refusal, at, shown};

const MAGIC: &[u8; 4] = b"GGUF";

/// Where tensors begin, unless the file says otherwise.
const ALIGNMENT: u64 = 32;

/// Values by key; models have some fifty.
const MOST_VALUES: u64 = 1 << 16;

const MOST_DIMENSIONS: u32 = 4;

/// The longest name that llama.cpp takes; other programs take longer ones.
const LONGEST_NAME: usize = 63;

/// Elements of a tensor are counted in signed numbers.
const MOST_ELEMENTS: u64 = i64::MAX.unsigned_abs();

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
    keys: HashSet<NameHash>,
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
        _ if (1..=3).contains(&version.swap_bytes()) => {
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
        said.take(&mut fields)?;
    }
    let alignment = said.alignment.unwrap_or(ALIGNMENT);
    if !alignment.is_power_of_two() || alignment % 8 != 0 {
        return Err(at(
            fields.offset(),
            format!("its alignment is {alignment}, no power of two from 8 on"),
        ));
    }
    let mut places = Places {
        alignment,
        names: HashSet::new(),
        next: 0,
        is_exact: true,
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

impl Values {
    /// Takes in one value with its key.
    fn take<F: Read + Seek>(&mut self, fields: &mut Fields<F>) -> Result<(), Refusal> {
        let start = fields.offset();
        let key = fields.name("a key")?;
        if key.is_empty() {
            return Err(at(start, "a key is empty"));
        }
        if !self.keys.insert(NameHash::of(&key)) {
            return Err(at(start, format!("it has the key {} twice", name(&key))));
        }
        let kind = fields.kind()?;
        let wanted = match key.as_slice() {
            b"general.alignment" => &mut self.alignment,
            b"split.no" => &mut self.number,
            b"split.count" => &mut self.count,
            b"split.tensors.count" => &mut self.tensors,
            _ => return fields.skip_value(kind, 0),
        };
        let here = fields.offset();
        *wanted = Some(match kind {
            Kind::U32 => fields.u32()?.into(),
            _ if key == b"general.alignment" => {
                return Err(at(here, format!("{} is no whole number of 32 bits", name(&key))));
            }
            Kind::U16 => fields.u16()?.into(),
            Kind::U64 => fields.u64()?,
            // Counts are written as signed numbers by some.
            Kind::I32 => u64::try_from(fields.u32()?.cast_signed())
                .map_err(|_| at(here, format!("{} is negative", name(&key))))?,
            _ => return Err(at(here, format!("{} is no whole number", name(&key)))),
        });
        Ok(())
    }
}

/// Where tensors are, after the header.
struct Places {
    alignment: u64,
    names: HashSet<NameHash>,
    /// Where the next one begins.
    next: u64,
    /// Whether it begins right there. After a type whose size is not known it may be further on.
    is_exact: bool,
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
        if !self.names.insert(NameHash::of(&bytes)) {
            return Err(wrong("is there twice".to_owned()));
        }
        let (row, elements) = extents(fields, wrong)?;
        let kind = fields.u32()?;
        let offset = fields.u64()?;
        let Self { alignment, next, .. } = *self;
        if offset % alignment != 0 {
            return Err(wrong(format!(
                "begins at {offset}, which is not aligned to {alignment}"
            )));
        }
        if offset < next || (self.is_exact && offset != next) {
            return Err(wrong(format!(
                "begins at {offset}, but those before it end at {next}, with their padding"
            )));
        }
        let known = match block(kind) {
            None => {
                self.remark = Some(format!("it has tensors of type {kind}, which is not known here"));
                None
            }
            Some((length, _)) if row % length != 0 => {
                return Err(wrong(format!("has rows of {row} elements, no multiple of {length}")));
            }
            Some((length, bytes)) => Some(
                (elements / length)
                    .checked_mul(bytes)
                    .ok_or_else(|| wrong("has more bytes than can be counted".to_owned()))?,
            ),
        };
        let end = offset.checked_add(known.unwrap_or(0));
        let padded = end.and_then(|end| end.checked_next_multiple_of(alignment));
        let (Some(end), Some(padded)) = (end, padded) else {
            return Err(wrong("ends where no file does".to_owned()));
        };
        (self.next, self.is_exact) = (padded, known.is_some());
        (self.end, self.end_of) = (end, name);
        Ok(())
    }
}

/// Elements of a row of a tensor, and of all of it.
fn extents<F: Read + Seek>(fields: &mut Fields<F>, wrong: impl Fn(String) -> Refusal) -> Result<(u64, u64), Refusal> {
    let dimensions = fields.u32()?;
    if dimensions > MOST_DIMENSIONS {
        return Err(wrong(format!(
            "has {dimensions} dimensions, more than {MOST_DIMENSIONS}"
        )));
    }
    let (mut row, mut elements) = (1, 1_u64);
    for dimension in 0..dimensions {
        let extent = fields.count()?;
        if dimension == 0 {
            row = extent;
        }
        elements = elements
            .checked_mul(extent)
            .filter(|elements| extent < MOST_ELEMENTS && *elements < MOST_ELEMENTS)
            .ok_or_else(|| wrong("has more elements than can be counted".to_owned()))?;
    }
    Ok((row, elements))
}

fn name(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}
