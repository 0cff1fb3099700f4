//! The recorded source of a published revision, with which the source can be reopened.
//!
//! A record contains no credential. It is not trusted with one either: anyone who can write to the volume can change it,
//! so no token is sent because of a record.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{INTERNAL, Store};
use crate::disk::files::{create_folders, write_whole};
use crate::model::error::StorageError;

/// The source of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRecord {
    /// Address of the source, with the immutable revision if the kind of address has one.
    pub source: String,
    /// Base URL of its server, if it is not in the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl Store {
    /// Records the source of a revision.
    pub fn record_source(&self, id: &str, record: &SourceRecord) -> Result<(), StorageError> {
        let path = path(self.root(), id);
        if recorded_source(self.root(), id)?.as_ref() == Some(record) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            create_folders(folder)?;
        }
        let text = serde_json::to_vec_pretty(record).map_err(|error| StorageError::at("write", &path)(error.into()))?;
        write_whole(&path, &text)
    }
}

/// The recorded source of a revision; `None` if it is missing or unreadable. Needs no lock.
pub fn recorded_source(root: &Path, id: &str) -> Result<Option<SourceRecord>, StorageError> {
    let path = path(root, id);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(StorageError::at("read", &path))?,
    };
    let record = serde_json::from_slice(&text);
    if let Err(error) = &record {
        tracing::warn!(path = %path.display(), %error, "ignoring the recorded source of a revision: it cannot be read");
    }
    Ok(record.ok())
}

fn path(root: &Path, id: &str) -> PathBuf {
    root.join(INTERNAL).join("sources").join(format!("{id}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_read_back_and_damage_is_as_good_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let record = SourceRecord {
            source: "hf://org/name@abc".to_owned(),
            endpoint: Some("https://huggingface.co".to_owned()),
            region: None,
        };
        assert_eq!(recorded_source(folder.path(), "abc").unwrap(), None);
        store.record_source("abc", &record).unwrap();
        assert_eq!(recorded_source(folder.path(), "abc").unwrap(), Some(record));
        fs::write(path(folder.path(), "abc"), "{").unwrap();
        assert_eq!(recorded_source(folder.path(), "abc").unwrap(), None);
    }
}
