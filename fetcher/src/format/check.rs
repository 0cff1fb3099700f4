//! Checks the headers of all weights in a folder, before or after publication.

mod indexed;
mod splits;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use self::splits::Splits;
use super::shards::folder_and_name;
use super::{Findings, gguf, safetensors};
use crate::disk::files::open_plain;
use crate::model::error::{FetchError, StorageError};
use crate::model::path::FilePath;

/// A folder and its files.
pub(crate) struct Contents<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) files: Vec<Held<'a>>,
    /// Listed files that are not in the folder; `None` if the listing is unknown.
    pub(crate) left_out: Option<HashSet<&'a FilePath>>,
}

/// A file of a folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'a> {
    /// Path as listed.
    pub(crate) path: &'a FilePath,
    /// Path of its bytes below the folder.
    pub(crate) place: &'a FilePath,
    /// Size in bytes.
    pub(crate) size: u64,
}

/// A format that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    Gguf,
    /// A blob of Ollama, whose name does not show its format.
    Blob,
    /// An index that maps tensors to shards.
    Index,
}

/// Checks the headers of all weights, and the indexes of sharded ones.
pub(crate) fn check(contents: &Contents<'_>, stop: &CancellationToken) -> Result<Findings, FetchError> {
    let open = |place: &FilePath| open_plain(&contents.folder.join(place.as_str()));
    check_opened(contents, open, stop)
}

/// The same, with files that `open` opens by their place.
fn check_opened<F: Read + Seek>(
    contents: &Contents<'_>,
    open: impl Fn(&FilePath) -> io::Result<F>,
    stop: &CancellationToken,
) -> Result<Findings, FetchError> {
    let mut checking = Checking {
        contents,
        open,
        numbers: contents.files.iter().map(|file| file.path.as_str()).zip(0..).collect(),
        done: HashSet::new(),
        splits: Splits::default(),
        findings: Findings::default(),
    };
    let formats = contents.files.iter().map(|file| format(file.path)).zip(0..);
    // Indexes first: they check the headers of their shards, which are then not read again.
    let (indexes, others): (Vec<_>, Vec<_>) = formats.partition(|(format, _)| *format == Some(Format::Index));
    for (format, number) in indexes.into_iter().chain(others) {
        if stop.is_cancelled() {
            return Err(FetchError::Interrupted);
        }
        let file = contents.files[number];
        let result = match format {
            None => continue,
            Some(Format::Index) => checking.index(file),
            Some(format) => checking.weights(number, format),
        };
        let path = contents.folder.join(file.place.as_str());
        result.map_err(|error| StorageError::at("read", &path)(error).of(file.path))?;
    }
    checking.splits.check(&mut checking.findings);
    Ok(checking.findings)
}

/// The state of a check.
struct Checking<'a, O> {
    contents: &'a Contents<'a>,
    /// Opens a file by its place.
    open: O,
    /// Index of each path in the list of files.
    numbers: HashMap<&'a str, usize>,
    /// Files whose header was checked with their index.
    done: HashSet<usize>,
    splits: Splits<'a>,
    findings: Findings,
}

impl<F: Read + Seek, O: Fn(&FilePath) -> io::Result<F>> Checking<'_, O> {
    fn weights(&mut self, number: usize, format: Format) -> io::Result<()> {
        if self.done.contains(&number) {
            return Ok(());
        }
        let held = self.contents.files[number];
        let Held { path, size, .. } = held;
        match format {
            Format::Safetensors => {
                self.safetensors(held)?;
            }
            Format::Blob if !begins_with_magic(self.open(held)?)? => {}
            Format::Gguf | Format::Blob => {
                let result = gguf::read(self.open(held)?, size);
                let Some(header) = self.findings.record(path, result)? else {
                    return Ok(());
                };
                if let Some(remark) = &header.remark {
                    self.findings.remark(path, remark);
                } else {
                    self.splits.add(path, &header);
                }
            }
            Format::Index => {}
        }
        Ok(())
    }

    fn safetensors(&mut self, held: Held<'_>) -> io::Result<Option<safetensors::Header>> {
        let Held { path, size, .. } = held;
        let read = safetensors::read(self.open(held)?, size);
        let header = self.findings.record(path, read)?;
        if let Some(dtype) = header.as_ref().and_then(|header| header.unknown.as_ref()) {
            let remark = format!("it has tensors of the unknown type {dtype:?}");
            self.findings.remark(path, remark);
        }
        Ok(header)
    }

    fn open(&self, file: Held<'_>) -> io::Result<F> {
        (self.open)(file.place)
    }
}

fn begins_with_magic(file: impl Read) -> io::Result<bool> {
    let mut magic = Vec::new();
    file.take(4).read_to_end(&mut magic)?;
    Ok(magic == b"GGUF")
}

fn format(path: &FilePath) -> Option<Format> {
    let (_, name) = folder_and_name(path.as_str());
    if index_of(name).is_some() {
        return Some(Format::Index);
    }
    match name.rsplit_once('.') {
        Some((_, "safetensors")) => Some(Format::Safetensors),
        Some((_, "gguf")) => Some(Format::Gguf),
        None if name.starts_with("sha256-") => Some(Format::Blob),
        _ => None,
    }
}

/// The name of the weights of an index: `model.safetensors` for `model.safetensors.index.json` and for
/// `model.safetensors.index.fp16.json`.
fn index_of(name: &str) -> Option<&str> {
    let (weights, rest) = name.rsplit_once(".index.")?;
    let is_json = rest == "json" || rest.strip_suffix(".json").is_some_and(|variant| !variant.contains('.'));
    let (_, extension) = weights.rsplit_once('.')?;
    (is_json && is_weights(extension)).then_some(weights)
}

fn is_weights(extension: &str) -> bool {
    matches!(extension, "safetensors" | "bin" | "pth" | "pt" | "h5" | "msgpack")
}

/// Checks a folder of these files in two orders; for the fuzz targets.
///
/// Every malformed file is a fault, and the findings do not depend on the order.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_anything(files: &[(FilePath, &[u8])], left_out: Option<&[FilePath]>) {
    let held = files.iter().map(|(path, bytes)| Held {
        path,
        place: path,
        size: bytes.len() as u64,
    });
    let mut contents = Contents {
        folder: Path::new(""),
        files: held.collect(),
        left_out: left_out.map(|paths| paths.iter().collect()),
    };
    let bytes: HashMap<_, _> = files.iter().map(|(path, bytes)| (path, *bytes)).collect();
    let open = |place: &FilePath| {
        bytes
            .get(place)
            .map(io::Cursor::new)
            .ok_or(io::ErrorKind::NotFound.into())
    };
    let mut found = || {
        let found = check_opened(&contents, open, &CancellationToken::new());
        contents.files.reverse();
        let Findings { faults, remarks } = found.unwrap_or_default();
        let sorted = |list: Vec<crate::model::fault::Fault>| {
            let mut lines: Vec<_> = list.iter().map(ToString::to_string).collect();
            lines.sort();
            lines
        };
        (
            faults.iter().map(|fault| fault.file.clone()).collect::<HashSet<_>>(),
            sorted(faults),
            sorted(remarks),
        )
    };
    let (at_fault, faults, remarks) = found();
    assert!(faults.len() <= super::MAX_FINDINGS && remarks.len() <= super::MAX_FINDINGS);
    if faults.len() == super::MAX_FINDINGS || remarks.len() == super::MAX_FINDINGS {
        return;
    }
    for (path, bytes) in files {
        let size = bytes.len() as u64;
        let is_malformed = match format(path) {
            Some(Format::Safetensors) => safetensors::read(*bytes, size).is_err(),
            Some(Format::Gguf) => gguf::read(io::Cursor::new(bytes), size).is_err(),
            Some(Format::Blob | Format::Index) | None => false,
        };
        assert!(!is_malformed || at_fault.contains(path), "{path}");
    }
    assert_eq!(found(), (at_fault, faults, remarks));
}
