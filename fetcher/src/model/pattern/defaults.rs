//! The default list: what an inference engine does not read, because the same weights are there in a better
//! format, or because it is no weights. docs/files.md says the same to people; keep both alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Pattern;
use crate::model::remote_file::RemoteFile;
use crate::model::shard_name::numbered;

/// Left behind by a training run, whatever else is there; matched against the whole path and the file's name.
const TRAINING: &[&str] = &[
    "optimizer*",
    "training_args.bin",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*.pth",
    // Checkpoints of DeepSpeed: the optimizer's state, in shards.
    "global_step*/*",
    "events.out.tfevents.*",
];

/// Weights for one runtime, made from safetensors or torch weights: left out when those are there.
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

/// Weights in torch's pickle format, with the index of their shards: left out when the same folder has all of its
/// weights as safetensors. By folder, since modules of one model can differ: a `2_Dense/pytorch_model.bin` has no
/// twin in the safetensors of its parent.
const TORCH: &[&str] = &["*.bin", "*.bin.index.json", "*.pth", "*.ckpt"];

/// Of these, the names under which a whole model is found: another `.bin` may be anything.
const TORCH_MODEL: &[&str] = &[
    "pytorch_model*.bin",
    "model*.bin",
    "diffusion_pytorch_model*.bin",
    "*.pth",
    "*.ckpt",
];

/// A listing as the default list sees it.
pub(super) struct Listed {
    training: Vec<Pattern>,
    converted: Vec<Pattern>,
    torch: Vec<Pattern>,
    /// A model as transformers and engines like it read it: safetensors or torch weights, in the usual names.
    has_usual_model: bool,
    /// That, or `consolidated*` weights.
    has_model: bool,
    /// Folders whose weights are all there as safetensors, by whether they are an adapter's.
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

    /// Why a file is left out, if it is.
    pub(super) fn leaves_out(&self, path: &str) -> Option<&'static str> {
        if any(&self.training, path) {
            Some("state of a training run")
        } else if is_original(path) && self.has_model {
            Some("the original of a model that is there converted")
        } else if is_consolidated(path) && self.has_usual_model {
            Some("the same weights are there in the usual layout")
        } else if any(&self.converted, path) && self.has_model {
            Some("weights for another runtime")
        } else if any(&self.torch, path) && self.complete.contains(&(folder(path).to_owned(), is_adapter(path))) {
            Some("the same weights are there as safetensors")
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

/// Meta's own layout, beside the converted model.
fn is_original(path: &str) -> bool {
    path.starts_with("original/")
}

fn is_consolidated(path: &str) -> bool {
    name(path).starts_with("consolidated")
}

/// Weights of an adapter do not stand for those of the model beside them.
fn is_adapter(path: &str) -> bool {
    name(path).starts_with("adapter")
}

/// Folders with safetensors of which no shard is missing.
fn complete_folders(paths: &[&str]) -> BTreeSet<(String, bool)> {
    // Shards of a set, by what their names share: how many there are, and how many there should be.
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
