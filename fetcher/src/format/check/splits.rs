//! Compares the headers of a GGUF model in several files with their names and with each other.

use std::collections::BTreeMap;

use crate::format::Findings;
use crate::format::gguf::Header;
use crate::format::shards::folder_and_name;
use crate::model::path::FilePath;
use crate::model::shard_name::numbered;

/// Files of sets, by folder, name and number of files.
#[derive(Default)]
pub(super) struct Splits<'a> {
    sets: BTreeMap<(&'a str, &'a str, u32), Vec<Member<'a>>>,
    unnumbered: Vec<(&'a FilePath, u64)>,
}

struct Member<'a> {
    path: &'a FilePath,
    /// Number in the name, from 1.
    number: u32,
    header: Header,
}

impl<'a> Splits<'a> {
    /// Adds a file if it is part of a set.
    pub(super) fn add(&mut self, path: &'a FilePath, header: &Header) {
        let (folder, name) = folder_and_name(path.as_str());
        let stem = name.strip_suffix(".gguf").unwrap_or(name);
        match (numbered(stem), header.split) {
            (Some((name, number, count)), _) if count > 1 => {
                let member = Member {
                    path,
                    number,
                    header: header.clone(),
                };
                self.sets.entry((folder, name, count)).or_default().push(member);
            }
            (_, Some(split)) => self.unnumbered.push((path, split.count)),
            (_, None) => {}
        }
    }

    /// Reports all contradictions.
    pub(super) fn check(&self, findings: &mut Findings) {
        for (path, count) in &self.unnumbered {
            let remark = format!("it is one of {count} files according to its header, but not according to its name");
            findings.remark(path, remark);
        }
        for ((_, _, count), members) in &self.sets {
            for member in members {
                check_member(member, *count, findings);
            }
            check_total(members, *count, findings);
        }
    }
}

fn check_member(member: &Member<'_>, count: u32, findings: &mut Findings) {
    let Member { path, number, header } = member;
    match header.split {
        None => {
            let remark = format!("it is one of {count} files according to its name, but not according to its header");
            findings.remark(path, remark);
        }
        Some(split) if split.count != u64::from(count) || split.number.saturating_add(1) != u64::from(*number) => {
            let cause = format!(
                "it is file {} of {} according to its header, but {number} of {count} according to its name",
                split.number.saturating_add(1),
                split.count
            );
            findings.fault(path, None, cause);
        }
        Some(_) => {}
    }
}

/// Compares the number of tensors with the header of the first file, if all files exist.
fn check_total(members: &[Member<'_>], count: u32, findings: &mut Findings) {
    let Some(first) = members.iter().min_by_key(|member| member.number) else {
        return;
    };
    let expected = first.header.split.and_then(|split| split.tensors);
    let actual: u64 = members.iter().map(|member| member.header.tensors).sum();
    if let Some(expected) = expected
        && members.len() as u64 == u64::from(count)
        && expected != actual
    {
        let cause = format!("its header announces {expected} tensors in {count} files, but they have {actual}");
        findings.fault(first.path, None, cause);
    }
}
