//! The default list: files that an inference engine does not read.
//!
//! They are twins of weights in a better format, or not weights at all. docs/files.md documents the list; change both
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Pattern;
use crate::model::remote_file::RemoteFile;
use crate::model::shard_name::numbered;

/// State of a training run, always skipped; matched against the path and each of its tails.
const TRAINING: &[&str] = &[
    "optimizer*",
    "training_args.bin",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*.pth",
    // DeepSpeed checkpoints: sharded optimizer state.
    "global_step*/*",
    "events.out.tfevents.*",
];

/// Weights converted for one runtime; skipped if safetensors or torch weights are listed.
const CONVERTED: &[&str] = &[
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.onnx_data*",
    "*.ot",
    "*.tflite",
    "*.mlmodel",
    "*.mlpackage/*",
    "openvino*",
];

/// Weights in torch's pickle format, with their index; skipped if the folder has complete safetensors.
///
/// Decided per folder, since modules of one model can differ: `2_Dense/pytorch_model.bin` has no twin in the safetensors
/// of its parent folder.
const TORCH: &[&str] = &["*.bin", "*.bin.index.json", "*.pth", "*.ckpt"];

/// The names in [`TORCH`] that stand for a whole model; any other `.bin` may be something else.
const TORCH_MODEL: &[&str] = &[
    "pytorch_model*.bin",
    "model*.bin",
    "diffusion_pytorch_model*.bin",
    "*.pth",
    "*.ckpt",
];

/// What the default list needs to know about a listing.
pub(super) struct Listed {
    training: Vec<Pattern>,
    converted: Vec<Pattern>,
    torch: Vec<Pattern>,
    /// The listing has safetensors or torch weights under the names that transformers reads.
    has_usual_model: bool,
    /// The listing has those or `consolidated*` weights.
    has_model: bool,
    /// Folders with complete safetensors, each with whether they are an adapter's.
    complete: BTreeSet<(String, bool)>,
}

impl Listed {
    pub(super) fn new(files: &[RemoteFile]) -> Self {
        let (training, converted) = (patterns(TRAINING), patterns(CONVERTED));
        let torch_model = patterns(TORCH_MODEL);
        let candidates: Vec<&str> = files
            .iter()
            .map(|file| file.path.as_str())
            .filter(|path| !is_original(path) && !any(&training, path) && !any(&converted, path))
            .collect();
        let complete = complete_folders(&candidates);
        let has_usual_model = complete.iter().any(|(_, adapter)| !adapter)
            || candidates
                .iter()
                .any(|path| any(&torch_model, path) && !is_consolidated(path) && !is_adapter(path));
        let is_weights = |path: &str| {
            Path::new(path)
                .extension()
                .is_some_and(|extension| extension == "safetensors" || extension == "pth")
        };
        let has_consolidated = candidates.iter().any(|path| is_consolidated(path) && is_weights(path));
        Self {
            training,
            converted,
            torch: patterns(TORCH),
            has_usual_model,
            has_model: has_usual_model || has_consolidated,
            complete,
        }
    }

    /// Why the default list skips a file; `None` if it does not.
    pub(super) fn leaves_out(&self, path: &str) -> Option<&'static str> {
        if any(&self.training, path) {
            Some("state of a training run")
        } else if is_original(path) && self.has_model {
            Some("original weights of a converted model")
        } else if is_consolidated(path) && self.has_usual_model {
            Some("the same weights exist in the usual layout")
        } else if any(&self.converted, path) && self.has_model {
            Some("weights for another runtime")
        } else if any(&self.torch, path) && self.complete.contains(&(folder(path).to_owned(), is_adapter(path))) {
            Some("the same weights exist as safetensors")
        } else {
            None
        }
    }
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Whether a pattern matches the path, or its part below any of its folders.
fn any(patterns: &[Pattern], path: &str) -> bool {
    let tails = std::iter::successors(Some(path), |tail| tail.split_once('/').map(|(_, rest)| rest));
    tails
        .into_iter()
        .any(|tail| patterns.iter().any(|pattern| pattern.matches(tail)))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether a file belongs to Meta's original weights, next to the converted model.
fn is_original(path: &str) -> bool {
    path.starts_with("original/")
}

fn is_consolidated(path: &str) -> bool {
    name(path).starts_with("consolidated")
}

/// Whether a file belongs to an adapter. An adapter's weights are not a twin of the model's.
fn is_adapter(path: &str) -> bool {
    name(path).starts_with("adapter")
}

/// Folders with complete safetensors, each with whether they are an adapter's.
fn complete_folders(paths: &[&str]) -> BTreeSet<(String, bool)> {
    // Per folder and shared name: number of listed shards, and number of shards in the set.
    let mut sets: BTreeMap<(String, bool), BTreeMap<String, (usize, usize)>> = BTreeMap::new();
    for path in paths {
        let Some(stem) = path.strip_suffix(".safetensors") else {
            continue;
        };
        if is_consolidated(path) {
            continue;
        }
        let (set, expected) = match numbered(stem) {
            Some((name, _, count)) => (
                format!("{name}-of-{count}"),
                usize::try_from(count).unwrap_or(usize::MAX),
            ),
            None => (stem.to_owned(), 1),
        };
        let folder = sets.entry((folder(path).to_owned(), is_adapter(path))).or_default();
        folder.entry(set).or_insert((0, expected)).0 += 1;
    }
    sets.into_iter()
        .filter(|(_, sets)| sets.values().all(|(present, expected)| present >= expected))
        .map(|(folder, _)| folder)
        .collect()
}
