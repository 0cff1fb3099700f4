//! An index against the shards it names: all there, each with the tensors that it is said to have.

use std::io::{self, Read, Seek};

use super::{Checking, Held, index_of, is_weights};
use crate::format::shards::folder_and_name;
use crate::format::tensors::NameHash;
use crate::format::{index, shown};
use crate::model::path::FilePath;

/// What an index names, by whether it is there.
#[derive(Default)]
struct Named {
    /// A tensor, and the place of its shard in the list of files.
    there: Vec<(usize, NameHash)>,
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
                .map_err(|error| format!("it names the shard {}, which must not be read: {error}", shown(shard)))?;
            match (self.numbers.get(shard.as_str()), &self.contents.left_out) {
                (Some(number), _) => named.there.push((*number, NameHash::of(tensor))),
                (None, Some(left_out)) if !left_out.contains(&shard) => {
                    named.not_listed.get_or_insert(shard);
                }
                (None, _) => {
                    named.left_out.get_or_insert(shard);
                }
            }
            Ok(())
        });
        let Some(index) = self.findings.sort(path, result)? else {
            return Ok(());
        };
        let is_complete = named.not_listed.is_none() && named.left_out.is_none();
        self.say_what_is_missing(path, &named);
        let bytes = self.shards(file, named.there)?;
        if let (true, Some(bytes), Some(told)) = (is_complete, bytes, index.total_size)
            && bytes != told
        {
            let remark = format!("it gives a total_size of {told}, but its shards have {bytes} bytes of tensors");
            self.findings.remark(path, remark);
        }
        Ok(())
    }

    fn say_what_is_missing(&mut self, path: &FilePath, named: &Named) {
        if let Some(shard) = &named.not_listed {
            let cause = format!("{path} names it, but it is not in the listing");
            if self.is_not_read(path, named) {
                self.findings
                    .remark(shard, format!("{cause}; the weights are there otherwise"));
            } else {
                self.findings
                    .fault(shard, None, format!("{cause}; the model is incomplete"));
            }
        }
        // Where none of the shards was wanted there is nothing to say.
        if let (Some(shard), true, true) = (
            &named.left_out,
            self.contents.left_out.is_some(),
            !named.there.is_empty(),
        ) {
            let remark = format!("the patterns leave it out, though {path} names it");
            self.findings.remark(shard, remark);
        }
    }

    /// Whether an index is a relic: the model is there in one file, or none of its shards is there and other weights
    /// are.
    fn is_not_read(&self, path: &FilePath, named: &Named) -> bool {
        let (folder, name) = folder_and_name(path.as_str());
        let whole = index_of(name).map(|weights| format!("{folder}{weights}"));
        if whole.is_some_and(|whole| self.numbers.contains_key(whole.as_str())) {
            return true;
        }
        let is_other = |other: &&str| {
            let (beside, name) = folder_and_name(other);
            let extension = name.rsplit_once('.').map(|(_, extension)| extension);
            beside == folder && extension.is_some_and(|extension| extension == "gguf" || is_weights(extension))
        };
        named.there.is_empty() && named.left_out.is_none() && self.numbers.keys().any(is_other)
    }

    /// Checks the headers of shards against the tensors they are to have. Bytes of all tensors, where all is known.
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
            let is_there = |name: &NameHash| header.names.binary_search(name).is_ok();
            let lacking: Vec<NameHash> = wanted
                .iter()
                .map(|(_, name)| *name)
                .filter(|name| !is_there(name))
                .collect();
            if let Some(first) = lacking.first() {
                let name = self.name_in(file, *first)?;
                let count = lacking.len();
                let cause = format!("{index} names {count} tensors that it does not have, one is {name}");
                self.findings.fault(shard, None, cause);
            }
            let extra = header.names.len() + lacking.len() - wanted.len();
            if extra > 0 {
                let remark = format!("it has {extra} tensors that {index} does not name");
                self.findings.remark(shard, remark);
            }
        }
        Ok(sum)
    }

    /// The name of a tensor, looked up in its index again.
    fn name_in(&self, file: Held<'_>, wanted: NameHash) -> io::Result<String> {
        let mut found = None;
        // What ends the reading here is no fault: the index was read to its end before.
        let _ = index::read(self.open(file)?, &mut |tensor, _| {
            if NameHash::of(tensor) == wanted {
                found = Some(shown(tensor));
            }
            Ok(())
        });
        Ok(found.unwrap_or_default())
    }
}
