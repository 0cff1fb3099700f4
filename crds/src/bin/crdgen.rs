//! Generates the CustomResourceDefinition or the reference page of conditions, and prints it.
#![allow(clippy::print_stdout, reason = "the output of this program")]

use std::process::ExitCode;

use modelcache_crds::{conditions, model_cache};

const USAGE: &str = "usage: crdgen crd | conditions

  crd         the ModelCache CustomResourceDefinition, as YAML
  conditions  the reference page of conditions and reasons, as Markdown";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crd"] => match serde_saphyr::to_string(&model_cache::custom_resource_definition()) {
            Ok(yaml) => print!("{yaml}"),
            Err(error) => {
                println!("crdgen: failed to write the CustomResourceDefinition as YAML: {error}");
                return ExitCode::FAILURE;
            }
        },
        ["conditions"] => print!("{}", conditions::documentation()),
        ["-h" | "--help"] => println!("{USAGE}"),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
