//! Parses the challenges in `WWW-Authenticate`. Pure.

/// An authentication challenge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token, from the realm.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// User and password.
    Basic,
}

/// Parses the challenges of one header; skips other schemes.
pub(crate) fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let (scheme, after) = rest.split_at(rest.find([' ', ',']).unwrap_or(rest.len()));
        let (parameters, after) = parse_parameters(after);
        let value = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = value("realm")
        {
            challenges.push(Challenge::Bearer {
                realm,
                service: value("service"),
                scope: value("scope"),
            });
        }
        rest = after.trim_start_matches([' ', ',']);
    }
    challenges
}

/// Parses `name="value", name=value`, and returns the rest from the next challenge on.
fn parse_parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches([' ', ',']);
        let Some((name, after)) = trimmed.split_once('=') else {
            return (parameters, trimmed);
        };
        if name.trim().contains([' ', ',']) || name.is_empty() {
            return (parameters, trimmed);
        }
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = after.find([',', ' ']).unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        parameters.push((name.trim().to_owned(), value));
        rest = after;
    }
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[rstest]
    #[case::of_docker(
        r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        vec![bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"))],
    )]
    #[case::basic(r#"Basic realm="Registry Realm""#, vec![Challenge::Basic])]
    #[case::without_parameters("Basic", vec![Challenge::Basic])]
    #[case::two(r#"Negotiate, bearer realm=https://a/t, Basic realm="b""#, vec![bearer("https://a/t", None, None), Challenge::Basic])]
    #[case::no_realm("Bearer service=\"x\"", vec![])]
    #[case::other(r#"Digest realm="x", nonce="y""#, vec![])]
    #[case::escaped(r#"Bearer realm="https://a/\"t""#, vec![bearer("https://a/\"t", None, None)])]
    #[case::unterminated(r#"Bearer realm="https://a"#, vec![bearer("https://a", None, None)])]
    fn challenges(#[case] header: &str, #[case] expected: Vec<Challenge>) {
        assert_eq!(parse_challenges(header), expected);
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "(?s).{0,200}") {
            parse_challenges(&header);
        }
    }
}
