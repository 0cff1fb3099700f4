//! Credentials of registries, from a file or text in the format of `docker login`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use modelcache_crds::report::FailureClass;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::model::error::SourceError;

/// Names of Docker Hub in credential files.
const DOCKER_HUB_KEYS: &[&str] = &["https://index.docker.io/v1/", "index.docker.io", "docker.io"];

/// Docker Hub's host.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Credentials by registry.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RegistryCredentials {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Deserialize)]
struct Entry {
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
}

/// The place where a text is invalid; without the parser's message, which may quote a password.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column} is not in the format of docker login")]
struct Unreadable {
    line: usize,
    column: usize,
}

impl RegistryCredentials {
    /// Finds credentials in the environment.
    ///
    /// Reads the text of `DOCKER_AUTH_CONFIG`, else the file that `REGISTRY_AUTH_FILE` names, else `config.json` in
    /// `DOCKER_CONFIG` or `~/.docker`.
    pub fn find(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, SourceError> {
        if let Some(text) = variable("DOCKER_AUTH_CONFIG").filter(|text| !text.trim().is_empty()) {
            return Self::parse(&text).map_err(|error| authentication_error(&format!("DOCKER_AUTH_CONFIG: {error}")));
        }
        let named = variable("REGISTRY_AUTH_FILE").map(PathBuf::from);
        let is_named = named.is_some();
        let folder = variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".docker")));
        let Some(file) = named.or_else(|| folder.map(|folder| folder.join("config.json"))) else {
            return Ok(Self::default());
        };
        match fs::read_to_string(&file) {
            Ok(text) => {
                Self::parse(&text).map_err(|error| authentication_error(&format!("{}: {error}", file.display())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => Ok(Self::default()),
            Err(error) => Err(authentication_error(&format!(
                "failed to read {}: {error}",
                file.display()
            ))),
        }
    }

    fn parse(text: &str) -> Result<Self, Unreadable> {
        serde_json::from_str(text).map_err(|error| Unreadable {
            line: error.line(),
            column: error.column(),
        })
    }

    /// The `Authorization` header for a registry; `None` without credentials for it.
    pub(super) fn basic(&self, registry: &str) -> Option<HeaderValue> {
        let entry = self.entry(registry)?;
        let encoded = match (&entry.auth, &entry.username, &entry.password) {
            (Some(auth), ..) if !auth.expose_secret().is_empty() => auth.expose_secret().to_owned(),
            (_, Some(user), Some(password)) => STANDARD.encode(format!("{user}:{}", password.expose_secret())),
            _ => return None,
        };
        let mut header = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    fn entry(&self, registry: &str) -> Option<&Entry> {
        let hub = if registry == DOCKER_HUB { DOCKER_HUB_KEYS } else { &[] };
        let is_of = |key: &str| {
            let host = key.trim_start_matches("https://").trim_start_matches("http://");
            host.trim_end_matches('/') == registry || hub.contains(&key)
        };
        self.auths.iter().find(|(key, _)| is_of(key)).map(|(_, entry)| entry)
    }
}

fn authentication_error(what: &str) -> SourceError {
    SourceError::new(
        FailureClass::AuthenticationFailed,
        format!("cannot read the registry credentials: {what}"),
    )
}

/// Reads credentials for the registry in the first line, for the fuzz targets.
///
/// Asserts that the header is marked as sensitive, and encodes exactly the user and the password.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    let (registry, text) = crate::model::fuzz_input::line(bytes);
    let (registry, text) = (String::from_utf8_lossy(registry), String::from_utf8_lossy(text));
    let Ok(credentials) = RegistryCredentials::parse(&text) else {
        return;
    };
    for registry in [&*registry, DOCKER_HUB] {
        let Some(header) = credentials.basic(registry) else {
            continue;
        };
        assert!(header.is_sensitive());
        let sent = header.as_bytes().strip_prefix(b"Basic ");
        let entry = credentials.entry(registry);
        if let Some(Entry {
            auth: None,
            username: Some(user),
            password: Some(password),
        }) = entry
        {
            let expected = format!("{user}:{}", password.expose_secret());
            assert!(sent.and_then(|sent| STANDARD.decode(sent).ok()) == Some(expected.into_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#"{"auths":{"ghcr.io":{"auth":"dTpw"}}}"#, "ghcr.io", Some("Basic dTpw"))]
    #[case(
        r#"{"auths":{"https://ghcr.io/":{"username":"u","password":"p"}}}"#,
        "ghcr.io",
        Some("Basic dTpw")
    )]
    #[case(
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#,
        "registry-1.docker.io",
        Some("Basic dTpw")
    )]
    #[case(r#"{"auths":{"ghcr.io":{"auth":"dTpw"}}}"#, "evil-ghcr.io", None)]
    #[case(r#"{"auths":{"host:5000":{"auth":"dTpw"}}}"#, "host", None)]
    #[case(r#"{"auths":{"host":{}}, "credsStore": "desktop"}"#, "host", None)]
    #[case("{}", "host", None)]
    fn credentials_of_a_registry(#[case] text: &str, #[case] registry: &str, #[case] expected: Option<&str>) {
        let header = RegistryCredentials::parse(text).unwrap().basic(registry);
        assert_eq!(header.as_ref().map(|header| header.to_str().unwrap()), expected);
    }

    #[rstest]
    #[case::no_json("s3cret")]
    #[case::a_text("\"s3cret\"")]
    #[case::a_text_where_an_entry_belongs(r#"{"auths":{"ghcr.io":"s3cret"}}"#)]
    #[case::a_number_where_a_password_belongs(r#"{"auths":{"ghcr.io":{"username":"u","password":5373}}}"#)]
    fn invalid_credentials_are_reported_without_their_text(#[case] text: &str) {
        let variable = |name: &str| (name == "DOCKER_AUTH_CONFIG").then(|| text.to_owned());
        let error = RegistryCredentials::find(&variable).unwrap_err();
        assert_eq!(error.class, FailureClass::AuthenticationFailed);
        assert!(error.message.contains("DOCKER_AUTH_CONFIG: line 1"), "{error}");
        assert!(
            !error.message.contains("s3cret") && !error.message.contains("5373"),
            "{error}"
        );
    }

    #[test]
    fn without_a_file_there_are_none() {
        let nothing = RegistryCredentials::find(&|_| None).unwrap();
        assert!(nothing.auths.is_empty());
    }
}
