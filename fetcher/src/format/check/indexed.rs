//! Compares an index with its shards: all must exist and have the tensors that the index names.

use std::io::{self, Read, Seek};

use super::{Checking, Held, index_of, is_weights};
use crate::format::shards::folder_and_name;
use crate::format::tensors::NameHash;
use crate::format::{index, quoted};
use crate::model::path::FilePath;

/// The shards that an index names: those of the folder, and one example of each kind of missing ones.
#[derive(Default)]
struct Named {
    /// Tensors of shards in the folder, each with the number of the shard in the list of files.
    present: Vec<(usize, NameHash)>,
    left_out: Option<FilePath>,
    not_listed: Option<FilePath>,
}

impl<F: Read + Seek, O: Fn(&FilePath) -> io::Result<F>> Checking<'_, O> {
    /// Checks an index and the headers of its shards.
    pub(super) fn index(&mut self, file: Held<'_>) -> io::Result<()> {
        let path = file.path;
        let mut named = Named::default();
        let (folder, _) = folder_and_name(path.as_str());
        let result = index::read(self.open(file)?, &mut |tensor, shard| {
            let shard = FilePath::parse(&format!("{folder}{shard}"))
                .map_err(|error| format!("it names the shard {}, which must not be read: {error}", quoted(shard)))?;
            match (self.numbers.get(shard.as_str()), &self.contents.left_out) {
                (Some(number), _) => named.present.push((*number, NameHash::of(tensor))),
                (None, Some(left_out)) if !left_out.contains(&shard) => {
                    named.not_listed.get_or_insert(shard);
                }
                (None, _) => {
                    named.left_out.get_or_insert(shard);
                }
            }
            Ok(())
        });
        let Some(index) = self.findings.record(path, result)? else {
            return Ok(());
        };
        let is_complete = named.not_listed.is_none() && named.left_out.is_none();
        self.report_missing(path, &named);
        let bytes = self.shards(file, named.present)?;
        if let (true, Some(bytes), Some(total_size)) = (is_complete, bytes, index.total_size)
            && bytes != total_size
        {
            let remark = format!("its total_size is {total_size}, but its shards have {bytes} bytes of tensors");
            self.findings.remark(path, remark);
        }
        Ok(())
    }

    /// Reports shards that the index names and the folder does not have.
    fn report_missing(&mut self, path: &FilePath, named: &Named) {
        if let Some(shard) = &named.not_listed {
            let cause = format!("{path} names it, but it is not in the listing");
            if self.is_unused(path, named) {
                self.findings
                    .remark(shard, format!("{cause}; the weights exist in another form"));
            } else {
                self.findings
                    .fault(shard, None, format!("{cause}; the model is incomplete"));
            }
        }
        // If all shards are skipped, that is intended.
        if let (Some(shard), true, true) = (
            &named.left_out,
            self.contents.left_out.is_some(),
            !named.present.is_empty(),
        ) {
            let remark = format!("the patterns skip it, although {path} names it");
            self.findings.remark(shard, remark);
        }
    }

    /// Whether programs will not read an index: the model exists in one file, or only other weights exist.
    fn is_unused(&self, path: &FilePath, named: &Named) -> bool {
        let (folder, name) = folder_and_name(path.as_str());
        let whole = index_of(name).map(|weights| format!("{folder}{weights}"));
        if whole.is_some_and(|whole| self.numbers.contains_key(whole.as_str())) {
            return true;
        }
        let is_other = |other: &&str| {
            let (other_folder, name) = folder_and_name(other);
            let extension = name.rsplit_once('.').map(|(_, extension)| extension);
            other_folder == folder && extension.is_some_and(|extension| extension == "gguf" || is_weights(extension))
        };
        named.present.is_empty() && named.left_out.is_none() && self.numbers.keys().any(is_other)
    }

    /// Checks that shards have the named tensors. Returns the bytes of all tensors, if all headers are known.
    fn shards(&mut self, file: Held<'_>, mut named: Vec<(usize, NameHash)>) -> io::Result<Option<u64>> {
        let index = file.path;
        named.sort_unstable();
        named.dedup();
        let mut sum = Some(0_u64);
        for wanted in named.chunk_by(|one, other| one.0 == other.0) {
            let number = wanted[0].0;
            let held = self.contents.files[number];
            let shard = held.path;
            if !shard.as_str().ends_with(".safetensors") {
                sum = None;
                continue;
            }
            self.done.insert(number);
            let Some(header) = self.safetensors(held)? else {
                sum = None;
                continue;
            };
            sum = sum.and_then(|sum| sum.checked_add(header.bytes));
            let has = |name: &NameHash| header.names.binary_search(name).is_ok();
            let lacking: Vec<NameHash> = wanted.iter().map(|(_, name)| *name).filter(|name| !has(name)).collect();
            if let Some(first) = lacking.first() {
                let name = self.name_in(file, *first)?;
                let count = lacking.len();
                let cause = format!("it lacks tensors that {index} names: {count}, for example {name}");
                self.findings.fault(shard, None, cause);
            }
            let extra = header.names.len() + lacking.len() - wanted.len();
            if extra > 0 {
                let remark = format!("it has tensors that {index} does not name: {extra}");
                self.findings.remark(shard, remark);
            }
        }
        Ok(sum)
    }

    /// The name of a tensor, from a second pass over its index.
    fn name_in(&self, file: Held<'_>, wanted: NameHash) -> io::Result<String> {
        let mut found = None;
        // The index was parsed to its end before, so it is not malformed.
        let _ = index::read(self.open(file)?, &mut |tensor, _| {
            if NameHash::of(tensor) == wanted {
                found = Some(quoted(tensor));
            }
            Ok(())
        });
        Ok(found.unwrap_or_default())
    }
}
