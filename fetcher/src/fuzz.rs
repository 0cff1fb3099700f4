//! The fuzz targets: one function per parser of untrusted input. It takes any bytes and must not panic.
//!
//! Each is the body of a program in `fuzz/`, which `make fuzz` runs. The tests below run all of them on seeds and on
//! random bytes. This module is not part of the API.

use std::io::Cursor;
#[cfg(test)]
use std::path::Path;

use jiff::Timestamp;
use modelcache_crds::report::{MAX_REPORT_BYTES, Report};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use url::Url;

use crate::application::recorded;
use crate::archive;
use crate::format;
use crate::http::range::{Decision, Requested, decide};
use crate::http::redact::SecretUrl;
use crate::http::redirect;
use crate::http::retry::{Backoff, Policy, retry_after};
use crate::model::digest::ContentDigest;
use crate::model::fuzz_input::{line, require_below};
use crate::model::path::FilePath;
use crate::model::pattern::{Pattern, select};
use crate::model::remote_file::RemoteFile;
use crate::source;
use crate::source::{MirrorAddress, SourceAddress, check_listing};
use crate::store;
use crate::store::journal;

/// A fuzz target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, sorted by name.
pub const TARGETS: &[Target] = &[
    ("address", address),
    ("archive", archive),
    ("challenge", challenge),
    ("docker_config", docker_config),
    ("expiry", expiry),
    ("folder", folder),
    ("gguf", gguf),
    ("hub_answer", hub_answer),
    ("hub_file", hub_file),
    ("hub_listing", hub_listing),
    ("index", index),
    ("journal", journal),
    ("kit", kit),
    ("manifest", manifest),
    ("model_scope", model_scope),
    ("names", names),
    ("packed", packed),
    ("path", path),
    ("pattern", pattern),
    ("pauses", pauses),
    ("range", range),
    ("redirect", redirect),
    ("report", report),
    ("s3", s3),
    ("s3_keys", s3_keys),
    ("safetensors", safetensors),
    ("store", store),
    ("sums", sums),
    ("token", token),
];

/// Parses lines `name: value` as headers; skips other lines.
fn headers(bytes: &[u8]) -> HeaderMap {
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    };
    bytes.split(|byte| *byte == b'\n').filter_map(header).collect()
}

/// Splits input at the first empty line, into headers and a body.
fn parts(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.windows(2).position(|pair| pair == b"\n\n") {
        None => (bytes, &[]),
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The address of a model; asserts that its `Display` output parses to the same address.
pub fn address(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(address) = text.parse::<SourceAddress>() {
        let shown = address.to_string();
        // `Display` omits the query of these.
        if !matches!(address, SourceAddress::PlainHttp(_)) {
            assert_eq!(shown.parse(), Ok(address), "{shown}");
        }
    }
    let _ = text.parse::<MirrorAddress>();
}

/// A registry's challenge.
pub fn challenge(bytes: &[u8]) {
    for challenge in source::parse_challenges(text(bytes)) {
        if let source::Challenge::Bearer { realm, .. } = challenge {
            let _ = Url::parse(&realm);
        }
    }
}

/// An uncompressed layer archive.
pub fn archive(bytes: &[u8]) {
    archive::read_anything(bytes);
}

/// A registry in the first line, then credentials in the format of `docker login`.
pub fn docker_config(bytes: &[u8]) {
    source::read_any_credentials(bytes);
}

/// A signed URL with an expiry time.
pub fn expiry(bytes: &[u8]) {
    if let Ok(url) = Url::parse(text(bytes)) {
        let _ = source::expiry(&url);
        let _ = SecretUrl::new(url).to_string();
    }
}

/// The format check of a folder.
///
/// Each file follows a line with its length and path; a line without a length is a skipped file.
pub fn folder(bytes: &[u8]) {
    let (mut files, mut left_out) = (Vec::<(FilePath, &[u8])>::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() && files.len() < 20 {
        let (head, after) = line(rest);
        let (length, path) = text(head).split_once(' ').unwrap_or_default();
        let length = length.parse::<usize>().ok();
        let (content, after) = after.split_at(length.unwrap_or_default().min(after.len()));
        rest = after;
        let Ok(path) = FilePath::parse(path) else {
            continue;
        };
        if files.iter().any(|(other, _)| *other == path) {
            continue;
        }
        match length {
            Some(_) => files.push((path, content)),
            None => left_out.push(path),
        }
    }
    format::check_anything(&files, Some(&left_out));
    format::check_anything(&files, None);
}

/// The header of a GGUF file.
pub fn gguf(bytes: &[u8]) {
    let _ = format::read_gguf(Cursor::new(bytes), bytes.len() as u64);
}

/// A hub's response: status in the first line, headers up to an empty line, body.
pub fn hub_answer(bytes: &[u8]) {
    let (status, rest) = line(bytes);
    let status = text(status).parse().ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let (above, body) = parts(rest);
    source::hugging_face::read_any_answer(status.unwrap_or(StatusCode::BAD_REQUEST), &headers(above), body);
}

/// Headers of a hub's response about a file.
pub fn hub_file(bytes: &[u8]) {
    source::hugging_face::read_any_location(&headers(bytes));
}

/// A hub's listing of a model.
pub fn hub_listing(bytes: &[u8]) {
    source::hugging_face::read_anything(bytes);
}

/// An index of shards.
pub fn index(bytes: &[u8]) {
    let _ = format::read_index(bytes, &mut |_, shard| {
        let _ = FilePath::parse(shard);
        Ok(())
    });
}

/// A journal as found on disk.
pub fn journal(bytes: &[u8]) {
    journal::replay_anything(bytes);
}

/// A Kitfile.
pub fn kit(bytes: &[u8]) {
    source::oci::read_any_kitfile(bytes);
}

/// A registry's manifest.
pub fn manifest(bytes: &[u8]) {
    source::oci::read_anything(bytes);
}

/// A response of ModelScope.
pub fn model_scope(bytes: &[u8]) {
    source::model_scope::read_anything(bytes);
}

/// The paths of a listing, one per line: selection, listing check and missing shards.
pub fn names(bytes: &[u8]) {
    let files: Vec<_> = text(bytes)
        .lines()
        .filter_map(|line| {
            Some(RemoteFile {
                path: FilePath::parse(line).ok()?,
                size: 1,
                digest: ContentDigest::GitSha1([0; 20]),
            })
        })
        .collect();
    let count = files.len();
    let selection = select(files, &[], None);
    assert_eq!(selection.selected.len() + selection.left_out.len(), count);
    let _ = check_listing(&selection.selected);
    let left_out: Vec<_> = selection.left_out.iter().map(|out| &out.file.path).collect();
    let _ = format::require_whole_sets(&selection.selected, &left_out);
}

/// An archive, possibly compressed.
pub fn packed(bytes: &[u8]) {
    archive::unpack_anything(bytes);
}

/// A listed path.
pub fn path(bytes: &[u8]) {
    if let Ok(path) = FilePath::parse(text(bytes)) {
        require_below(&path);
    }
}

/// A pattern in the first line, then a path.
pub fn pattern(bytes: &[u8]) {
    let (pattern, path) = line(bytes);
    if let Ok(pattern) = text(pattern).parse::<Pattern>() {
        let _ = pattern.matches(text(path));
    }
}

/// Headers that ask for a pause; asserts that the pause is bounded.
pub fn pauses(bytes: &[u8]) {
    let policy = Policy::default();
    let pause = retry_after(&headers(bytes), Timestamp::UNIX_EPOCH);
    let paused = Backoff::new(policy, 7).failed(pause);
    assert!(paused.is_some_and(|pause| pause <= policy.retry_after_cap + policy.base));
}

/// A response to a range request: status, begin, end and size in the first line, then headers.
///
/// Asserts that only bytes of the requested range are accepted.
pub fn range(bytes: &[u8]) {
    let (first, rest) = line(bytes);
    let mut numbers = text(first)
        .split(' ')
        .map(|number| number.parse::<u64>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    let status = u16::try_from(next())
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let (begin, end, size) = (next(), next(), next());
    if begin >= end || end > size {
        return;
    }
    for (sequential, credentials) in [(false, false), (true, true)] {
        let requested = Requested {
            range: begin..end,
            size,
            sequential,
            credentials,
        };
        let status = status.unwrap_or(StatusCode::PARTIAL_CONTENT);
        if let Decision::Accept { skip, length } = decide(status, &headers(rest), &requested, Timestamp::UNIX_EPOCH) {
            assert!(length > 0 && length <= end - begin);
            assert!(skip == 0 || skip == begin);
        }
    }
}

/// A URL in the first line, then its redirect target.
pub fn redirect(bytes: &[u8]) {
    let (from, target) = line(bytes);
    let Ok(from) = Url::parse(text(from)) else {
        return;
    };
    let target = HeaderValue::from_bytes(target).map(|target| (LOCATION, target));
    if matches!(from.scheme(), "https" | "http") {
        redirect::follow_anything(&from, &target.into_iter().collect());
    }
}

/// A termination message.
pub fn report(bytes: &[u8]) {
    if let Some(report) = Report::from_termination_message(text(bytes)) {
        let message = report.to_termination_message();
        assert!(Report::from_termination_message(&message).is_some());
        assert!(message.len() <= MAX_REPORT_BYTES || !matches!(report, Report::Failed(_)));
    }
}

/// S3's responses: a checksum in the first line, then a body.
pub fn s3(bytes: &[u8]) {
    source::s3::read_anything(bytes);
}

/// Responses with temporary S3 keys.
pub fn s3_keys(bytes: &[u8]) {
    source::s3::read_any_keys(bytes);
}

/// The header of a safetensors file.
pub fn safetensors(bytes: &[u8]) {
    let _ = format::read_safetensors(bytes, bytes.len() as u64);
}

/// A file of the store, which someone else may have written. The first line is its kind: `manifest`, `source`,
/// `unpacked` or `blocks`.
pub fn store(bytes: &[u8]) {
    store::read_anything(bytes);
    if let (b"source", record) = line(bytes) {
        recorded::read_anything(record);
    }
}

/// A list of digests.
pub fn sums(bytes: &[u8]) {
    let _ = source::read_sums(bytes, &"list");
}

/// A registry's challenge in the first line, then its response to the token request.
pub fn token(bytes: &[u8]) {
    source::read_any_token(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use pretty_assertions::assert_eq;
    use proptest::prelude::*;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
    }

    fn names_in(folder: PathBuf) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| name(entry.unwrap())).collect()
    }

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(folder("seeds").join(target)).unwrap();
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
    }

    fn names() -> BTreeSet<String> {
        TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    /// The compiler does not notice a program missing in `Cargo.toml`, nor one that calls another target.
    #[test]
    fn every_target_has_a_program_that_calls_it_and_is_built() {
        assert_eq!(names_in(folder("fuzz_targets")), names());
        for name in names() {
            let program = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
            let call = format!("|bytes: &[u8]| modelcache_fetcher::fuzz::{name}(bytes)");
            assert_eq!(
                program,
                format!("#![no_main]\n\nlibfuzzer_sys::fuzz_target!({call});\n")
            );
        }
        let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
        let (_, programs) = manifest.split_once("[[bin]]\n").unwrap();
        let program = |name| {
            format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\ntest = false\ndoc = false\nbench = false\n")
        };
        let expected: Vec<_> = names().into_iter().map(program).collect();
        assert_eq!(programs, expected.join("\n[[bin]]\n"));
    }

    #[test]
    fn every_target_has_seeds_and_passes_them() {
        assert_eq!(names_in(folder("seeds")), names());
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name}");
            for seed in &seeds {
                target(seed);
            }
        }
    }

    proptest! {
        #[test]
        fn no_target_panics_at_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (_, target) in TARGETS {
                target(&bytes);
            }
        }

        #[test]
        fn no_target_panics_at_a_changed_seed(
            pick: prop::sample::Index, cut: prop::sample::Index,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        ) {
            for (name, target) in TARGETS {
                let seeds = seeds(name);
                let mut seed = seeds[pick.index(seeds.len())].clone();
                for (place, byte) in &changes {
                    if !seed.is_empty() {
                        let place = place.index(seed.len());
                        seed[place] = *byte;
                    }
                }
                target(&seed);
                target(&seed[..cut.index(seed.len() + 1)]);
            }
        }
    }
}
