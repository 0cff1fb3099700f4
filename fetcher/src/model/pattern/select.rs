//! Selects the listed files to fetch.

use super::Pattern;
use super::defaults::Listed;
use crate::model::remote_file::RemoteFile;

/// A listing, split into selected and skipped files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The files to fetch, in the order of the listing.
    pub selected: Vec<RemoteFile>,
    /// The skipped files.
    pub left_out: Vec<LeftOut>,
}

/// A skipped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file.
    pub file: RemoteFile,
    /// Why it is skipped.
    pub reason: Reason,
}

/// Why a file is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No include pattern matches.
    NotIncluded,
    /// This exclude pattern matches.
    Excluded(String),
    /// The default list skips it, for the reason in the text.
    Default(&'static str),
}

/// Splits a listing into selected and skipped files.
///
/// A file is selected if an include pattern matches or none is given, and no exclude pattern matches. Without include
/// patterns and without an exclude list (`None`, not an empty one), the default list applies. Include patterns turn the
/// default list off, so that they select every file they match.
#[must_use]
pub fn select(files: Vec<RemoteFile>, include: &[Pattern], exclude: Option<&[Pattern]>) -> Selection {
    let defaults = (include.is_empty() && exclude.is_none()).then(|| Listed::new(&files));
    let mut selection = Selection::default();
    for file in files {
        let path = file.path.as_str();
        let reason = if !include.is_empty() && !include.iter().any(|pattern| pattern.matches(path)) {
            Some(Reason::NotIncluded)
        } else if let Some(pattern) = exclude.unwrap_or_default().iter().find(|pattern| pattern.matches(path)) {
            Some(Reason::Excluded(pattern.to_string()))
        } else {
            defaults
                .as_ref()
                .and_then(|listed| listed.leaves_out(path))
                .map(Reason::Default)
        };
        match reason {
            None => selection.selected.push(file),
            Some(reason) => selection.left_out.push(LeftOut { file, reason }),
        }
    }
    selection
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    use super::*;
    use crate::model::digest::ContentDigest;
    use crate::model::path::FilePath;

    fn listing(paths: &[&str]) -> Vec<RemoteFile> {
        let file = |path: &&str| RemoteFile {
            path: FilePath::parse(path).unwrap(),
            size: 1,
            digest: ContentDigest::GitSha1([0; 20]),
        };
        paths.iter().map(file).collect()
    }

    fn selected<'a>(paths: &[&'a str], include: &[&str], exclude: Option<&[&str]>) -> Vec<&'a str> {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Pattern>>();
        let exclude = exclude.map(parse);
        let selection = select(listing(paths), &parse(include), exclude.as_deref());
        paths
            .iter()
            .copied()
            .filter(|path| selection.selected.iter().any(|file| file.path.as_str() == *path))
            .collect()
    }

    #[rstest]
    #[case::safetensors_stand_for_every_other_format(
        &["config.json", "model.safetensors", "tokenizer.json"],
        &["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "onnx/model.onnx",
          "onnx/model.onnx_data", "openvino/openvino_model.bin", "openvino/openvino_model.xml", "model.tflite",
          "coreml/model.mlmodel", "model-Q4_K_M.gguf", "model.ckpt", "pytorch_model.bin.index.json"],
    )]
    #[case::torch_weights_alone_are_fetched(
        &["config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin",
          "pytorch_model.bin.index.json"],
        &["tf_model.h5", "training_args.bin", "optimizer.pt"],
    )]
    #[case::gguf_alone_is_fetched(&["README.md", "m-Q4_K_M.gguf", "m-Q8_0.gguf"], &[])]
    #[case::onnx_alone_is_fetched(&["config.json", "onnx/model.onnx", "onnx/model.onnx_data"], &[])]
    #[case::a_missing_shard_keeps_the_torch_weights(
        &["model-00001-of-00002.safetensors", "model.safetensors.index.json", "pytorch_model.bin"],
        &[],
    )]
    #[case::all_shards_replace_the_torch_weights(
        &["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        &["pytorch_model.bin"],
    )]
    #[case::a_module_that_has_only_torch_weights_keeps_them(
        &["model.safetensors", "2_Dense/pytorch_model.bin", "2_Dense/config.json"],
        &["pytorch_model.bin"],
    )]
    #[case::safetensors_of_an_adapter_replace_no_model(
        &["adapter_model.safetensors", "pytorch_model.bin"],
        &[],
    )]
    #[case::an_adapter_in_both_formats(&["adapter_model.safetensors"], &["adapter_model.bin"])]
    #[case::consolidated_beside_shards_is_left_out(
        &["model-00001-of-00001.safetensors", "params.json", "tekken.json"],
        &["consolidated.safetensors", "consolidated.safetensors.index.json", "consolidated-00001-of-00002.safetensors"],
    )]
    #[case::consolidated_alone_is_fetched(&["consolidated.safetensors", "params.json", "tekken.json"], &[])]
    #[case::the_original_beside_a_converted_model_is_left_out(
        &["model.safetensors"],
        &["original/consolidated.00.pth", "original/params.json", "original/tokenizer.model"],
    )]
    #[case::the_original_alone_is_fetched(&["original/consolidated.00.pth", "original/params.json"], &[])]
    #[case::each_component_of_a_pipeline_is_looked_at_by_itself(
        &["model_index.json", "unet/diffusion_pytorch_model.safetensors", "safety_checker/pytorch_model.bin",
          "scheduler/scheduler_config.json"],
        &["unet/diffusion_pytorch_model.bin"],
    )]
    #[case::voices_in_torch_files_beside_a_model_are_kept(
        &["model.safetensors", "voices/af.pt"],
        &["model.pth"],
    )]
    #[case::states_of_a_training_run_are_left_out(
        &["model.safetensors", "trainer_state.json"],
        &["optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt", "training_args.bin",
          "global_step100/mp_rank_00_model_states.pt", "checkpoint-5/optimizer.bin", "runs/x/events.out.tfevents.1.host"],
    )]
    #[case::a_repository_without_weights_is_fetched_whole(&["tokenizer.json", "vocab.txt"], &[])]
    fn the_default_list(#[case] fetched: &[&str], #[case] left_out: &[&str]) {
        let all: Vec<&str> = fetched.iter().chain(left_out).copied().collect();
        assert_eq!(selected(&all, &[], None), fetched);
    }

    #[rstest]
    #[case::whoever_asks_for_a_file_gets_it(&["*.bin"], None, &["model.bin"])]
    #[case::an_exclude_list_replaces_the_default_one(&[], Some(&["*.json"][..]), &["model.bin", "model.safetensors"])]
    #[case::an_empty_exclude_list_leaves_nothing_out(&[], Some(&[][..]), &["config.json", "model.bin", "model.safetensors"])]
    #[case::exclude_wins_over_include(&["model.*"], Some(&["*.bin"][..]), &["model.safetensors"])]
    #[case::nothing_may_be_left(&["*.gguf"], None, &[])]
    fn patterns(#[case] include: &[&str], #[case] exclude: Option<&[&str]>, #[case] expected: &[&str]) {
        let all = ["config.json", "model.bin", "model.safetensors"];
        assert_eq!(selected(&all, include, exclude), expected);
    }

    #[test]
    fn what_is_left_out_says_why() {
        let selection = select(listing(&["a.safetensors", "a.bin"]), &[], None);
        assert!(
            matches!(&selection.left_out[..], [LeftOut { reason: Reason::Default(_), file }] if file.path.as_str() == "a.bin")
        );
    }
}
