//! Keys that sign requests: from the environment, or temporary ones for a web identity or a pod identity.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use modelcache_crds::report::FailureClass;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use rusty_s3::Credentials;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::answers::element;
use crate::http::client::describe;
use crate::http::redact::SecretUrl;
use crate::model::error::SourceError;
use crate::source::api;
use crate::source::api::read_body;

/// Time before the expiry of temporary keys at which they are renewed.
const KEY_RENEWAL_MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// No keys, for a public bucket.
    Anonymous,
    /// Fixed keys.
    Static(Credentials),
    /// Temporary keys of the security token service, for a service account's token.
    WebIdentity {
        /// URL of the service.
        sts: Url,
        /// Role to assume.
        role: String,
        /// File that contains the token; the kubelet renews it.
        token_file: PathBuf,
    },
    /// Temporary keys of an agent on the node, such as EKS Pod Identity's.
    Container {
        /// URL of the agent.
        agent: Url,
        /// File that contains the token for the agent.
        token_file: Option<PathBuf>,
    },
}

/// The current keys, renewed before they expire.
#[derive(Debug)]
pub(super) struct Keys {
    source: KeySource,
    client: Client,
    /// Temporary keys, and when they expire.
    cached: Mutex<Option<(Credentials, Timestamp)>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentResponse {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<Timestamp>,
}

impl KeySource {
    /// Reads the variables of the AWS CLI, in its order.
    pub fn find(region: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, SourceError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let (Some(key), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            return Ok(Self::Static(match variable("AWS_SESSION_TOKEN") {
                Some(token) => Credentials::new_with_token(key, secret, token),
                None => Credentials::new(key, secret),
            }));
        }
        let parse = |text: &str| {
            text.parse::<Url>()
                .map_err(|error| authentication_error(format!("{text:?} is not a URL: {error}")))
        };
        if let (Some(role), Some(file)) = (variable("AWS_ROLE_ARN"), variable("AWS_WEB_IDENTITY_TOKEN_FILE")) {
            let sts =
                variable("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com/"));
            return Ok(Self::WebIdentity {
                sts: parse(&sts)?,
                role,
                token_file: file.into(),
            });
        }
        match variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            Some(agent) => Ok(Self::Container {
                agent: parse(&agent)?,
                token_file: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
            }),
            None => Ok(Self::Anonymous),
        }
    }
}

impl Keys {
    pub(super) fn new(source: KeySource, client: Client) -> Self {
        Self {
            source,
            client,
            cached: Mutex::new(None),
        }
    }

    pub(super) fn are_none(&self) -> bool {
        matches!(self.source, KeySource::Anonymous)
    }

    /// Keys that are valid for a while, and when they expire; `None` for anonymous access.
    pub(super) async fn get(&self) -> Result<Option<(Credentials, Timestamp)>, SourceError> {
        let (agent, token_file, role) = match &self.source {
            KeySource::Anonymous => return Ok(None),
            KeySource::Static(keys) => return Ok(Some((keys.clone(), Timestamp::MAX))),
            KeySource::WebIdentity { sts, role, token_file } => (sts, Some(token_file), Some(role)),
            KeySource::Container { agent, token_file } => (agent, token_file.as_ref(), None),
        };
        let mut cached = self.cached.lock().await;
        let soon = Timestamp::now() + KEY_RENEWAL_MARGIN;
        if let Some((keys, expires)) = cached.as_ref().filter(|(_, expires)| *expires > soon) {
            return Ok(Some((keys.clone(), *expires)));
        }
        let token = token_file.map(|file| read_token(file)).transpose()?;
        let fresh = match role {
            Some(role) => self.assume(agent, role, token.as_deref().unwrap_or_default()).await?,
            None => self.request_from_agent(agent, token.as_deref()).await?,
        };
        *cached = Some(fresh.clone());
        Ok(Some(fresh))
    }

    async fn assume(&self, sts: &Url, role: &str, token: &str) -> Result<(Credentials, Timestamp), SourceError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("Action", "AssumeRoleWithWebIdentity"),
                ("Version", "2011-06-15"),
                ("RoleArn", role),
                ("RoleSessionName", "modelcache"),
                ("WebIdentityToken", token),
            ])
            .finish();
        // In the body, since URLs with tokens end up in logs.
        let request = self
            .client
            .post(sts.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let shown = SecretUrl::new(sts.clone());
        let response = request.send().await.map_err(|error| describe(&error, &shown))?;
        let text = text(response, &shown).await?;
        parse_sts_response(&text).map_err(|what| authentication_error(format!("{sts} returned no {what}")))
    }

    async fn request_from_agent(
        &self,
        agent: &Url,
        token: Option<&str>,
    ) -> Result<(Credentials, Timestamp), SourceError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token)
                .map_err(|_| authentication_error("the agent's token contains invalid characters".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let answer = api::send(&self.client, &Method::GET, agent, headers, None).await?;
        let text = text(answer.response, &SecretUrl::new(agent.clone())).await?;
        parse_agent_response(&text).ok_or_else(|| authentication_error(format!("{agent} returned no credentials")))
    }
}

/// Parses a response of the security token service; the error is the missing part.
fn parse_sts_response(text: &str) -> Result<(Credentials, Timestamp), String> {
    let part = |name: &str| element(text, name).ok_or_else(|| format!("{name}: check the role's trust policy"));
    let keys = Credentials::new_with_token(part("AccessKeyId")?, part("SecretAccessKey")?, part("SessionToken")?);
    let expires = part("Expiration")?.parse().map_err(|_| "valid Expiration".to_owned())?;
    Ok((keys, expires))
}

/// Parses a response of an agent; `None` if it contains no keys.
fn parse_agent_response(text: &str) -> Option<(Credentials, Timestamp)> {
    let AgentResponse {
        access_key_id: key,
        secret_access_key: secret,
        token,
        expiration,
    } = serde_json::from_str(text).ok()?;
    let keys = match token {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    };
    Some((keys, expiration.unwrap_or(Timestamp::MAX)))
}

async fn text(mut response: Response, shown: &SecretUrl) -> Result<String, SourceError> {
    let status = response.status();
    let body = read_body(&mut response, shown).await?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        return Ok(text);
    }
    Err(response_error(status, &text, shown))
}

fn response_error(status: StatusCode, text: &str, shown: &SecretUrl) -> SourceError {
    let why = element(text, "Message").unwrap_or_default();
    if status.is_server_error() {
        return SourceError::new(FailureClass::SourceError, format!("{shown} returned {status} {why}"));
    }
    authentication_error(format!("{shown} returned no keys ({status}): {why}"))
}

fn read_token(file: &std::path::Path) -> Result<String, SourceError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| authentication_error(format!("failed to read the token file {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

fn authentication_error(message: String) -> SourceError {
    SourceError::new(FailureClass::AuthenticationFailed, message)
}

/// Reads any response with keys, for the fuzz targets.
///
/// Asserts that keys are parsed unchanged, and that their `Debug` output does not depend on the secret.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_anything(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (keys, _) in parse_sts_response(&text).into_iter().chain(parse_agent_response(&text)) {
        assert_eq!(format!("{keys:?}"), format!("{:?}", Credentials::new(keys.key(), "")));
    }
    let agent = serde_json::json!({"AccessKeyId": "key", "SecretAccessKey": text, "Token": text});
    let given = parse_agent_response(&agent.to_string()).map(|(keys, _)| keys);
    assert!(given.is_some_and(|keys| keys.secret() == text && keys.token() == Some(&text)));
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let service = format!(
        "<AccessKeyId>key</AccessKeyId><SecretAccessKey>{escaped}</SecretAccessKey><SessionToken>t</SessionToken>\
         <Expiration>2026-01-01T00:00:00Z</Expiration>"
    );
    let given = parse_sts_response(&service).ok().map(|(keys, _)| keys);
    assert!(given.is_some_and(|keys| keys.secret() == text.trim()));
    let Ok(url) = "https://sts".parse().map(SecretUrl::new) else {
        return;
    };
    for status in [StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY] {
        let error = response_error(status, &text, &url);
        assert!(!error.message.chars().any(char::is_control) && error.message.len() < 20_000);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], "Anonymous")]
    #[case(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_ROLE_ARN", "r")], "Static")]
    #[case(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_ROLE_ARN", "r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")], "WebIdentity")]
    #[case(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials")], "Container")]
    fn the_variables_select_the_source_of_keys(#[case] variables: &[(&str, &str)], #[case] expected: &str) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let source = KeySource::find("eu-central-1", &variable).unwrap();
        assert!(format!("{source:?}").starts_with(expected), "{expected}");
    }
}
