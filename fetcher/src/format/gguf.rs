//! Parser of the header of a GGUF file.
//!
//! A header has magic, version, counts, values by key, and for each tensor its name, shape, type and offset. The tensors
//! follow in that order, each padded to the alignment. Versions 1 to 3 are parsed; a big-endian file is only recognized.
//!
//! What llama.cpp rejects as damage is a fault here too. What the format allows but llama.cpp does not read is a remark,
//! since other programs read it.

mod fields;

use std::collections::HashSet;
use std::io::{Read, Seek};

use self::fields::{Fields, Kind};
use super::tensors;
use super::tensors::{NameHash, block};
use super::{ParseError, at, quoted};

const MAGIC: &[u8; 4] = b"GGUF";

/// Alignment of tensors in a file that does not set it.
const DEFAULT_ALIGNMENT_BYTES: u64 = 32;

/// Maximum number of values; models have about fifty.
const MAX_VALUES: u64 = 1 << 16;

const MAX_DIMENSIONS: u32 = 4;

/// Maximum length of a tensor's name that llama.cpp accepts; other programs accept longer ones.
const LLAMA_CPP_MAX_NAME_BYTES: usize = 63;

/// Maximum number of elements of a tensor; llama.cpp counts them in signed numbers.
const MAX_ELEMENTS: u64 = i64::MAX.unsigned_abs();

/// The parsed header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of tensors.
    pub(super) tensors: u64,
    /// Position in a set of files, if the file is part of one.
    pub(super) split: Option<Split>,
    /// Something unusual that may be wrong.
    pub(super) remark: Option<String>,
}

/// The position of a file in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Number of the file, from 0.
    pub(super) number: u64,
    /// Number of files in the set.
    pub(super) count: u64,
    /// Number of tensors in the set.
    pub(super) tensors: Option<u64>,
}

/// The values that the checks use.
#[derive(Default)]
struct Values {
    keys: HashSet<NameHash>,
    alignment: Option<u64>,
    number: Option<u64>,
    count: Option<u64>,
    tensors: Option<u64>,
}

/// Parses the header of a file of `size` bytes. Reads only the header.
pub(crate) fn read(file: impl Read + Seek, size: u64) -> Result<Header, ParseError> {
    let mut fields = Fields::new(file, size);
    if &fields.bytes::<4>()? != MAGIC {
        return Err(at(0, "it does not begin with GGUF; it is not a GGUF file"));
    }
    let version = fields.u32()?;
    match version {
        1 => fields.use_narrow_counts(),
        2 | 3 => {}
        _ if (1..=3).contains(&version.swap_bytes()) => {
            return Ok(Header {
                remark: Some("it is big-endian and was not checked".to_owned()),
                ..Header::default()
            });
        }
        _ => return Err(at(4, format!("its version is {version}; supported are 1, 2 and 3"))),
    }
    let tensors = fields.count()?;
    let value_count = fields.count()?;
    if tensors > tensors::MAX_TENSORS as u64 || value_count > MAX_VALUES {
        return Err(at(
            8,
            format!("its header announces {tensors} tensors and {value_count} values, too many; it is damaged"),
        ));
    }
    let mut values = Values::default();
    for _ in 0..value_count {
        values.read(&mut fields)?;
    }
    let alignment = values.alignment.unwrap_or(DEFAULT_ALIGNMENT_BYTES);
    if !alignment.is_power_of_two() || alignment % 8 != 0 {
        return Err(at(
            fields.offset(),
            format!("its alignment is {alignment}, not a power of two of at least 8"),
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
                "tensor {} ends at byte {end}, but the file has only {size} bytes; it is truncated",
                places.end_of
            ),
        ));
    }
    let split = values.count.filter(|count| *count > 1).map(|count| Split {
        number: values.number.unwrap_or_default(),
        count,
        tensors: values.tensors,
    });
    Ok(Header {
        tensors,
        split,
        remark: places.remark,
    })
}

impl Values {
    /// Reads one value with its key.
    fn read<F: Read + Seek>(&mut self, fields: &mut Fields<F>) -> Result<(), ParseError> {
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
                return Err(at(
                    here,
                    format!("{} is not an unsigned integer of 32 bits", name(&key)),
                ));
            }
            Kind::U16 => fields.u16()?.into(),
            Kind::U64 => fields.u64()?,
            // Some writers use signed numbers for counts.
            Kind::I32 => u64::try_from(fields.u32()?.cast_signed())
                .map_err(|_| at(here, format!("{} is negative", name(&key))))?,
            _ => return Err(at(here, format!("{} is not an integer", name(&key)))),
        });
        Ok(())
    }
}

/// The offsets of the tensors, relative to the end of the header.
struct Places {
    alignment: u64,
    names: HashSet<NameHash>,
    /// Offset of the next tensor.
    next: u64,
    /// Whether the next tensor has exactly this offset; after one of unknown type it may have a larger one.
    is_exact: bool,
    end: u64,
    /// Name of the tensor that ends at `end`.
    end_of: String,
    remark: Option<String>,
}

impl Places {
    fn tensor<F: Read + Seek>(&mut self, fields: &mut Fields<F>) -> Result<(), ParseError> {
        let here = fields.offset();
        let bytes = fields.name("a tensor's name")?;
        let name = name(&bytes);
        let wrong = |cause: String| at(here, format!("tensor {name} {cause}"));
        if bytes.len() > LLAMA_CPP_MAX_NAME_BYTES {
            self.remark = Some(format!(
                "it has names of more than {LLAMA_CPP_MAX_NAME_BYTES} bytes, which llama.cpp rejects"
            ));
        }
        if !self.names.insert(NameHash::of(&bytes)) {
            return Err(wrong("is listed twice".to_owned()));
        }
        let (row, elements) = extents(fields, wrong)?;
        let kind = fields.u32()?;
        let offset = fields.u64()?;
        let Self { alignment, next, .. } = *self;
        if offset % alignment != 0 {
            return Err(wrong(format!(
                "starts at {offset}, which is not aligned to {alignment}"
            )));
        }
        if offset < next || (self.is_exact && offset != next) {
            return Err(wrong(format!(
                "starts at {offset}, but the tensors before it end at {next} with padding"
            )));
        }
        let known = match block(kind) {
            None => {
                self.remark = Some(format!("it has tensors of the unknown type {kind}"));
                None
            }
            Some((length, _)) if row % length != 0 => {
                return Err(wrong(format!(
                    "has rows of {row} elements, which is not a multiple of {length}"
                )));
            }
            Some((length, bytes)) => Some(
                (elements / length)
                    .checked_mul(bytes)
                    .ok_or_else(|| wrong("has too many bytes to count".to_owned()))?,
            ),
        };
        let end = offset.checked_add(known.unwrap_or(0));
        let padded = end.and_then(|end| end.checked_next_multiple_of(alignment));
        let (Some(end), Some(padded)) = (end, padded) else {
            return Err(wrong("ends beyond the end of any file".to_owned()));
        };
        (self.next, self.is_exact) = (padded, known.is_some());
        (self.end, self.end_of) = (end, name);
        Ok(())
    }
}

/// Number of elements of a row of a tensor, and of the whole tensor.
fn extents<F: Read + Seek>(
    fields: &mut Fields<F>,
    wrong: impl Fn(String) -> ParseError,
) -> Result<(u64, u64), ParseError> {
    let dimensions = fields.u32()?;
    if dimensions > MAX_DIMENSIONS {
        return Err(wrong(format!(
            "has {dimensions} dimensions, more than {MAX_DIMENSIONS}"
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
            .filter(|elements| extent < MAX_ELEMENTS && *elements < MAX_ELEMENTS)
            .ok_or_else(|| wrong("has too many elements to count".to_owned()))?;
    }
    Ok((row, elements))
}

fn name(bytes: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(bytes))
}
