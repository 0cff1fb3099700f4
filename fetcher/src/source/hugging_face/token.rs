//! Finds the access token where `huggingface_hub` looks for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use modelcache_crds::report::FailureClass;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::address::Endpoint;
use crate::model::error::SourceError;

/// Finds the token for an endpoint, if there is one.
///
/// Looks at the given file, at `HF_TOKEN` and its old name, and at the file that `HF_TOKEN_PATH` names. The token that
/// `huggingface_hub` stored in `$HF_HOME/token` is used for `https://huggingface.co` only, and not if
/// `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set.
pub fn find_token(
    file: Option<&Path>,
    endpoint: &Endpoint,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<SecretString>, SourceError> {
    if let Some(file) = file {
        return read_named(file).map(Some);
    }
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(token) = variable(name).and_then(|text| trimmed(&text)) {
            return Ok(Some(token));
        }
    }
    let named = variable("HF_TOKEN_PATH").map(PathBuf::from);
    let stored = || {
        let is_implicit_allowed = !is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").as_deref());
        (endpoint.is_the_hub() && is_implicit_allowed)
            .then(|| stored_token(variable))
            .flatten()
    };
    let Some(file) = named.or_else(stored) else {
        return Ok(None);
    };
    match read(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(authentication_error(format!(
            "failed to read the token file {}: {error}",
            file.display()
        ))),
        token => Ok(token.unwrap_or_default()),
    }
}

/// Finds ModelScope's token: in the given file, or in the variable of its own client.
pub fn find_modelscope_token(
    file: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<SecretString>, SourceError> {
    if let Some(file) = file {
        return read_named(file).map(Some);
    }
    Ok(variable("MODELSCOPE_API_TOKEN").and_then(|text| trimmed(&text)))
}

fn read_named(file: &Path) -> Result<SecretString, SourceError> {
    match read(file) {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(authentication_error(format!(
            "the token file {} is empty",
            file.display()
        ))),
        Err(error) => Err(authentication_error(format!(
            "failed to read the token file {}: {error}",
            file.display()
        ))),
    }
}

/// The `Authorization` header for a token, marked as sensitive so that it is never printed.
pub(super) fn authorization(token: &SecretString) -> Result<HeaderValue, SourceError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| {
        authentication_error(
            "the token contains invalid characters; check that the Secret or file contains only the token".to_owned(),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn authentication_error(message: String) -> SourceError {
    SourceError::new(FailureClass::AuthenticationFailed, message)
}

fn read(file: &Path) -> io::Result<Option<SecretString>> {
    fs::read_to_string(file).map(|text| trimmed(&text))
}

/// Trims a token, since files of Secrets often end in a line break; `None` if it is empty.
fn trimmed(text: &str) -> Option<SecretString> {
    let text = text.trim();
    (!text.is_empty()).then(|| SecretString::from(text))
}

fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|value| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
}

fn stored_token(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let home = variable("HF_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("huggingface")))
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache/huggingface")))?;
    Some(home.join("token"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HUB: &str = "https://huggingface.co";

    /// The token found with these variables, where `$HOME` is a folder with a stored token.
    fn found(endpoint: &str, variables: &[(&str, &str)]) -> Option<String> {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_stored\n").unwrap();
        let variable = |name: &str| {
            let given = variables.iter().find(|(given, _)| *given == name);
            given.map(|(_, value)| value.replace("$HOME", home.path().to_str().unwrap()))
        };
        let token = find_token(None, &endpoint.parse().unwrap(), &variable).unwrap();
        token.map(|token| token.expose_secret().to_owned())
    }

    #[rstest]
    #[case::nothing(HUB, &[], None)]
    #[case::trimmed(HUB, &[("HF_TOKEN", " hf_a\n")], Some("hf_a"))]
    #[case::the_new_name_first(HUB, &[("HUGGING_FACE_HUB_TOKEN", "hf_b"), ("HF_TOKEN", "hf_a")], Some("hf_a"))]
    #[case::the_old_name(HUB, &[("HUGGING_FACE_HUB_TOKEN", "hf_b")], Some("hf_b"))]
    #[case::an_empty_variable_is_none(HUB, &[("HF_TOKEN", ""), ("HF_HOME", "$HOME")], Some("hf_stored"))]
    #[case::stored(HUB, &[("HF_HOME", "$HOME")], Some("hf_stored"))]
    #[case::stored_but_not_to_be_used(HUB, &[("HF_HOME", "$HOME"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None)]
    #[case::stored_for_another_host("https://mirror", &[("HF_HOME", "$HOME")], None)]
    #[case::stored_not_sent_unencrypted("http://huggingface.co", &[("HF_HOME", "$HOME")], None)]
    #[case::named_for_any_host("https://mirror", &[("HF_TOKEN_PATH", "$HOME/token")], Some("hf_stored"))]
    #[case::named_but_missing(HUB, &[("HF_TOKEN_PATH", "$HOME/other")], None)]
    fn a_token_is_found(#[case] endpoint: &str, #[case] variables: &[(&str, &str)], #[case] token: Option<&str>) {
        assert_eq!(found(endpoint, variables).as_deref(), token);
    }

    #[test]
    fn a_token_file_that_was_named_must_hold_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let endpoint = HUB.parse().unwrap();
        let missing = find_token(Some(&file), &endpoint, &|_| None).unwrap_err();
        assert!(missing.message.contains("failed to read"), "{missing}");
        fs::write(&file, "\n").unwrap();
        let empty = find_token(Some(&file), &endpoint, &|_| None).unwrap_err();
        assert!(empty.message.contains("is empty"), "{empty}");
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = SecretString::from("hf_secret");
        let header = authorization(&token).unwrap();
        assert!(!format!("{token:?} {header:?}").contains("hf_secret"));
        let broken = authorization(&SecretString::from("hf_secret\nx")).unwrap_err();
        assert!(!broken.message.contains("hf_secret"));
    }
}
