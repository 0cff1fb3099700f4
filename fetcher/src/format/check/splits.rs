//! GGUF models in several files: what their headers say of the set against their names, and against each other.

use std::collections::BTreeMap;

use crate::format::Findings;
use crate::format::gguf::Header;
use crate::format::shards::folder_and_name;
use crate::model::path::FilePath;
use crate::model::shard_name::numbered;

/// Files of sets, by what their names share.
#[derive(Default)]
pub(super) struct Splits<'a> {
    sets: BTreeMap<(&'a str, &'a str, u32), Vec<Member<'a>>>,
    unnumbered: Vec<(&'a FilePath, u64)>,
}

struct Member<'a> {
    path: &'a FilePath,
    /// Counted from 1.
    number: u32,
    header: Header,
}

impl<'a> Splits<'a> {
    /// Takes in a file, if it is one of several.
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

    /// Says what does not fit together.
    pub(super) fn check(&self, findings: &mut Findings) {
        for (path, count) in &self.unnumbered {
            let remark = format!("it is one of {count} files by its header, but its name does not lead to the others");
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
            let remark = format!("its name says that it is one of {count} files, and its header does not");
            findings.remark(path, remark);
        }
        Some(split) if split.count != u64::from(count) || split.number.saturating_add(1) != u64::from(*number) => {
            let cause = format!(
                "its header says that it is file {} of {}, but its name says {number} of {count}",
                split.number.saturating_add(1),
                split.count
            );
            findings.fault(path, None, cause);
        }
        Some(_) => {}
    }
}

/// Holds the number of tensors against what the first file says, where all files are there.
fn check_total(members: &[Member<'_>], count: u32, findings: &mut Findings) {
    let Some(first) = members.iter().min_by_key(|member| member.number) else {
        return;
    };
    let told = first.header.split.and_then(|split| split.tensors);
    let there: u64 = members.iter().map(|member| member.header.tensors).sum();
    if let Some(told) = told
        && members.len() as u64 == u64::from(count)
        && told != there
    {
        let cause = format!("its header says that the {count} files hold {told} tensors, but they hold {there}");
        findings.fault(first.path, None, cause);
    }
}
