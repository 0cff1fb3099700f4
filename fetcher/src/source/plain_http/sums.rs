//! Parses lists of digests that `sha256sum` wrote, with or without `--tag`.

use crate::model::digest::ContentDigest;
use crate::model::path::{FilePath, InvalidPath};

/// The first invalid line of a list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(super) struct InvalidSums {
    /// Counted from 1.
    line: usize,
    problem: Problem,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("not <64 hex digits>, two spaces and a path, as sha256sum writes it")]
    Form,
    #[error("unsafe path: {0}")]
    Path(#[from] InvalidPath),
}

/// Parses a list; keeps its order.
pub(super) fn parse(text: &str) -> Result<Vec<(FilePath, ContentDigest)>, InvalidSums> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !is_comment(line));
    lines
        .map(|(line, number)| entry(line).map_err(|problem| InvalidSums { line: number, problem }))
        .collect()
}

fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

fn entry(line: &str) -> Result<(FilePath, ContentDigest), Problem> {
    let (hex, path) = match line.strip_prefix("SHA256 (") {
        Some(tagged) => tagged.rsplit_once(") = ").map(|(path, hex)| (hex, path)),
        // A space marks text mode, an asterisk binary mode; the bytes are the same on Linux.
        None => line
            .split_once(' ')
            .and_then(|(hex, rest)| Some((hex, rest.strip_prefix([' ', '*'])?))),
    }
    .ok_or(Problem::Form)?;
    let hex = hex.trim_end().to_ascii_lowercase();
    // A leading backslash marks an escaped path, which no model has; here the digest then fails to parse.
    let digest = ContentDigest::sha256_from_hex(&hex).map_err(|_| Problem::Form)?;
    Ok((FilePath::parse(path.strip_prefix("./").unwrap_or(path))?, digest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const HEX: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

    #[rstest]
    #[case::text("$HEX  a/b c.gguf", Ok("a/b c.gguf"))]
    #[case::binary("$HEX *m.gguf", Ok("m.gguf"))]
    #[case::from_find("$HEX  ./m.gguf", Ok("m.gguf"))]
    #[case::tagged("SHA256 (m (1).gguf) = $HEX", Ok("m (1).gguf"))]
    #[case::carriage_return("$HEX  m.gguf\r\n", Ok("m.gguf"))]
    #[case::comment_before("# made by hand\n\n$HEX  m.gguf", Ok("m.gguf"))]
    #[case::parent("$HEX  ../m.gguf", Err(1))]
    #[case::absolute("\n$HEX  /etc/passwd", Err(2))]
    #[case::escaped("\\$HEX  a\\nb", Err(1))]
    #[case::one_space("$HEX m.gguf", Err(1))]
    #[case::another_digest("d41d8cd98f00b204e9800998ecf8427e  m.gguf", Err(1))]
    #[case::a_web_page("$HEX  m.gguf\n<html>", Err(2))]
    fn a_list(#[case] text: &str, #[case] expected: Result<&str, usize>) {
        let parsed = parse(&text.replace("$HEX", HEX));
        let shown = match &parsed {
            Ok(files) => Ok(files[0].0.as_str()),
            Err(error) => Err(error.line),
        };
        assert_eq!(shown, expected, "{parsed:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn what_sha256sum_writes_is_read_back(names in proptest::collection::vec("[a-z0-9_.]{0,8}[a-z0-9]", 1..9)) {
            let lines: Vec<_> = names.iter().map(|name| format!("{HEX}  {name}")).collect();
            let text = lines.join("\n");
            let read: Vec<_> = parse(&text).unwrap().iter().map(|(path, _)| path.to_string()).collect();
            prop_assert_eq!(read, names);
        }
    }
}
