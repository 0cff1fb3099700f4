//! The index of a model in shards: which tensor is in which file. Read as a stream, entry by entry, since that of a
//! large model has a hundred thousand.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::Json;
use super::{Refusal, at, tensors, wrong};

/// What an index says of all shards.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// Bytes of all tensors, where it says so.
    pub(super) total_size: Option<u64>,
}

/// Hands each tensor and the shard it is in to `each`, whose error ends the reading.
pub(crate) fn read(file: impl Read, each: &mut dyn FnMut(&str, &str) -> Result<(), String>) -> Result<Index, Refusal> {
    let mut entries = Entries {
        each,
        count: 0,
        refused: None,
    };
    let mut json = Json::new(file, 0);
    let mut deserializer = serde_json::Deserializer::from_reader(&mut json);
    let read = Whole(&mut entries)
        .deserialize(&mut deserializer)
        .and_then(|index| deserializer.end().map(|()| index));
    if let Some(cause) = entries.refused {
        // Nothing was read after the name of the shard.
        return Err(at(json.last_string(), cause));
    }
    let (index, has_map) = read.map_err(|error| json.refusal(error, "it"))?;
    if !has_map {
        return Err(wrong("it has no weight_map; it is no index of shards"));
    }
    Ok(index)
}

struct Entries<'a> {
    each: &'a mut dyn FnMut(&str, &str) -> Result<(), String>,
    count: usize,
    refused: Option<String>,
}

struct Whole<'a, 'b>(&'a mut Entries<'b>);

impl<'de> DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = (Index, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
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
            let taken = if self.count > tensors::MOST {
                Err("it names more tensors than any model has".to_owned())
            } else {
                (self.each)(&tensor, &shard)
            };
            if let Err(cause) = taken {
                self.refused = Some(cause);
                return Err(A::Error::custom("refused"));
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

/// A size, if that is what is there: some writers put other things in its place, and nothing depends on it.
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
