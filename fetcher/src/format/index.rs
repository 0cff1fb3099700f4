//! Parser of the index of a sharded model, which maps each tensor to its shard.
//!
//! Parsed as a stream, since the index of a large model has a hundred thousand entries.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::Json;
use super::{ParseError, at, tensors, whole_file};

/// The values of an index besides its entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// Bytes of all tensors, if the index has them.
    pub(super) total_size: Option<u64>,
}

/// Calls `each` with each tensor and its shard; an error of `each` ends the parsing.
pub(crate) fn read(
    file: impl Read,
    each: &mut dyn FnMut(&str, &str) -> Result<(), String>,
) -> Result<Index, ParseError> {
    let mut entries = Entries {
        each,
        count: 0,
        rejected: None,
    };
    let mut json = Json::new(file, 0);
    let mut deserializer = serde_json::Deserializer::from_reader(&mut json);
    let parsed = Document(&mut entries)
        .deserialize(&mut deserializer)
        .and_then(|index| deserializer.end().map(|()| index));
    if let Some(cause) = entries.rejected {
        // The last string is the name of the rejected shard.
        return Err(at(json.last_string(), cause));
    }
    let (index, has_map) = parsed.map_err(|error| json.parse_error(error, "it"))?;
    if !has_map {
        return Err(whole_file("it has no weight_map; it is not an index of shards"));
    }
    Ok(index)
}

struct Entries<'a> {
    each: &'a mut dyn FnMut(&str, &str) -> Result<(), String>,
    count: usize,
    /// Why an entry was rejected.
    rejected: Option<String>,
}

/// The whole index, as deserialized.
struct Document<'a, 'b>(&'a mut Entries<'b>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = (Index, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = (Index, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index of shards")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut index, mut has_map) = (Index::default(), false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => {
                    index.total_size = map
                        .next_value::<Option<Metadata>>()?
                        .and_then(|about| about.total_size.0);
                }
                "weight_map" => {
                    map.next_value_seed(&mut *self.0)?;
                    has_map = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((index, has_map))
    }
}

impl<'de> DeserializeSeed<'de> for &mut Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors and shards")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
            self.count += 1;
            let result = if self.count > tensors::MAX_TENSORS {
                Err(format!("it names more than {} tensors", tensors::MAX_TENSORS))
            } else {
                (self.each)(&tensor, &shard)
            };
            if let Err(cause) = result {
                self.rejected = Some(cause);
                return Err(A::Error::custom("rejected"));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    total_size: Lenient,
}

/// A size, or `None` for any other value: some writers use other types, and nothing depends on the size.
#[derive(Default)]
struct Lenient(Option<u64>);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Lenient;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size")
            }

            fn visit_u64<E>(self, size: u64) -> Result<Lenient, E> {
                Ok(Lenient(Some(size)))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_str<E>(self, text: &str) -> Result<Lenient, E> {
                Ok(Lenient(text.parse().ok()))
            }

            fn visit_unit<E>(self) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lenient, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lenient(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lenient, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Lenient(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
