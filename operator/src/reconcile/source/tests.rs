use k8s_openapi::api::core::v1::EnvVar;
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

fn parsed(source: Value) -> Option<ModelSource> {
    ModelSource::parse(&serde_json::from_value(source).unwrap())
}

#[rstest]
#[case::hugging_face(
    json!({"huggingFace": {"repo": "org/a", "endpoint": "http://hub"}}),
    ["org/a", "hf://org/a@main", "hf://org/a@$D", "--endpoint=http://hub"],
)]
#[case::model_scope(
    json!({"modelScope": {"repo": "org/a", "endpoint": "http://hub"}}),
    ["modelscope://org/a", "modelscope://org/a@master", "modelscope://org/a@master", "--modelscope-endpoint=http://hub"],
)]
#[case::oci(
    json!({"oci": {"repository": "ghcr.io/org/a", "reference": "v1"}}),
    ["oci://ghcr.io/org/a", "oci://ghcr.io/org/a:v1", "oci://ghcr.io/org/a@$D", ""],
)]
#[case::oci_in_plain(
    json!({"oci": {"repository": "host:5000/a", "plainHttp": true}}),
    ["oci://host:5000/a", "oci+http://host:5000/a:latest", "oci+http://host:5000/a@$D", ""],
)]
#[case::oci_by_digest(
    json!({"oci": {"repository": "host/a", "reference": DIGEST}}),
    ["oci://host/a", "oci://host/a@$D", "oci://host/a@$D", ""],
)]
#[case::ollama(
    json!({"ollama": {"model": "llama3.2", "tag": "1b"}}),
    ["ollama://llama3.2", "ollama://llama3.2:1b", "ollama://llama3.2:1b@$D", ""],
)]
#[case::s3(
    json!({"s3": {"bucket": "models", "prefix": "/llama/", "endpoint": "http://store", "region": "eu", "addressing": "Path"}}),
    ["s3://models/llama", "s3://models/llama", "s3://models/llama",
        "--s3-endpoint=http://store --s3-region=eu --s3-addressing=path"],
)]
#[case::claim(
    json!({"persistentVolumeClaim": {"claimName": "weights", "path": "llama/v1"}}),
    ["pvc://weights/llama/v1", "file:///source/llama/v1", "file:///source/llama/v1", ""],
)]
#[case::root_of_a_claim(
    json!({"persistentVolumeClaim": {"claimName": "weights"}}),
    ["pvc://weights", "file:///source", "file:///source", ""],
)]
#[case::http(
    json!({"http": {"url": "https://host/a/SHA256SUMS?sig=1"}}),
    ["https://host/a/SHA256SUMS", "https://host/a/SHA256SUMS?sig=1", "https://host/a/SHA256SUMS?sig=1", ""],
)]
fn a_source_has_the_address_and_options_of_the_fetchers_command_line(
    #[case] source: Value,
    #[case] expected: [&str; 4],
) {
    let source = parsed(source).unwrap();
    let source = source.kind();
    let options = source.options().join(" ");
    assert_eq!(
        [source.name(), source.address(), source.address_at(DIGEST), options],
        expected.map(|text| text.replace("$D", DIGEST))
    );
}

/// Name, Secret, key and optionality of each variable of the container.
fn variables(access: &Access) -> Vec<String> {
    let variables = access.variables.iter().map(|variable| {
        let variable = EnvVar::from(variable);
        let secret = variable.value_from.unwrap().secret_key_ref.unwrap();
        format!("{} {} {} {:?}", variable.name, secret.name, secret.key, secret.optional)
    });
    variables.collect()
}

#[rstest]
#[case::hugging_face(
    json!({"huggingFace": {"repo": "org/a", "tokenSecretRef": {"name": "hf"}}}),
    &["HF_TOKEN hf token None"],
)]
#[case::model_scope(
    json!({"modelScope": {"repo": "org/a", "tokenSecretRef": {"name": "ms", "key": "sdk"}}}),
    &["MODELSCOPE_API_TOKEN ms sdk None"],
)]
#[case::whole_pull_secret(
    json!({"oci": {"repository": "ghcr.io/org/a", "pullSecretRef": {"name": "pull"}}}),
    &["DOCKER_AUTH_CONFIG pull .dockerconfigjson None"],
)]
#[case::keys_of_a_bucket_with_an_optional_session_token(
    json!({"s3": {"bucket": "models", "credentialsSecretRef": {"name": "keys"}}}),
    &[
        "AWS_ACCESS_KEY_ID keys AWS_ACCESS_KEY_ID None",
        "AWS_SECRET_ACCESS_KEY keys AWS_SECRET_ACCESS_KEY None",
        "AWS_SESSION_TOKEN keys AWS_SESSION_TOKEN Some(true)",
    ],
)]
#[case::without_a_secret(json!({"huggingFace": {"repo": "org/a"}}), &[])]
fn a_secret_reaches_the_pod_as_the_variables_that_the_fetcher_reads(#[case] source: Value, #[case] expected: &[&str]) {
    assert_eq!(variables(&parsed(source).unwrap().kind().access()), expected);
}

#[test]
fn an_account_and_a_claim_are_part_of_the_access() {
    let s3 = parsed(json!({"s3": {"bucket": "models", "serviceAccountName": "reader"}})).unwrap();
    assert_eq!(s3.kind().access().service_account.as_deref(), Some("reader"));
    let claim = parsed(json!({"persistentVolumeClaim": {"claimName": "weights"}})).unwrap();
    assert_eq!(claim.kind().access().claim.as_deref(), Some("weights"));
}

#[test]
fn no_member_and_several_members_are_not_a_source() {
    assert_eq!(parsed(json!({})), None);
    let two = json!({"ollama": {"model": "a"}, "http": {"url": "https://host/SHA256SUMS"}});
    assert_eq!(parsed(two), None);
}
