//! `fnmatch` patterns with the semantics of `huggingface_hub`, and the selection of listed files.

mod defaults;
mod select;

use std::fmt;
use std::str::FromStr;

pub use self::select::{LeftOut, Reason, Selection, select};

/// A pattern for whole paths, with the semantics of Python's `fnmatch.fnmatchcase`.
///
/// It is case-sensitive, `*` also matches `/`, and there is no escaping. As in `huggingface_hub`, a pattern that ends in
/// `/` matches everything below that folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Literal(char),
    /// `?`: any one character.
    AnyOne,
    /// `*`: any number of characters.
    Any,
    /// `[...]`: a character inside these ranges, or outside if negated.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// The error for an empty pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern must not be empty")]
pub struct EmptyPattern;

impl FromStr for Pattern {
    type Err = EmptyPattern;

    fn from_str(text: &str) -> Result<Self, EmptyPattern> {
        if text.is_empty() {
            return Err(EmptyPattern);
        }
        let mut chars: Vec<char> = text.chars().collect();
        if chars.last() == Some(&'/') {
            chars.push('*');
        }
        Ok(Self {
            text: text.to_owned(),
            tokens: tokens(&chars),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Whether the whole path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let (mut token, mut rest) = (0, path);
        // Where to resume if the tokens after the last `*` do not match: the `*` then takes one more character.
        let mut last_star: Option<(usize, &str)> = None;
        while let Some(c) = rest.chars().next() {
            match self.tokens.get(token) {
                Some(Token::Any) => {
                    last_star = Some((token + 1, rest));
                    token += 1;
                }
                Some(single) if single.matches(c) => {
                    token += 1;
                    rest = &rest[c.len_utf8()..];
                }
                _ => {
                    let Some((after, from)) = last_star else { return false };
                    let mut further = from.chars();
                    further.next();
                    rest = further.as_str();
                    last_star = Some((after, rest));
                    token = after;
                }
            }
        }
        self.tokens[token..].iter().all(|rest| *rest == Token::Any)
    }
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::AnyOne => true,
            Self::Any => false,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

fn tokens(pattern: &[char]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = pattern.get(at) {
        at += 1;
        match c {
            '*' => {
                if tokens.last() != Some(&Token::Any) {
                    tokens.push(Token::Any);
                }
            }
            '?' => tokens.push(Token::AnyOne),
            '[' => {
                if let Some(end) = class_end(pattern, at) {
                    tokens.push(class(&pattern[at..end]));
                    at = end + 1;
                } else {
                    tokens.push(Token::Literal('['));
                }
            }
            c => tokens.push(Token::Literal(c)),
        }
    }
    tokens
}

/// Index of the `]` that ends a class; `None` if none does. A `]` at the start is a member.
fn class_end(pattern: &[char], start: usize) -> Option<usize> {
    let mut at = start;
    at += usize::from(pattern.get(at) == Some(&'!'));
    at += usize::from(pattern.get(at) == Some(&']'));
    let length = pattern.get(at..)?.iter().position(|c| *c == ']')?;
    Some(at + length)
}

/// Parses the inside of `[...]`, split at the hyphens of ranges as Python splits it.
fn class(inside: &[char]) -> Token {
    let negated = inside.first() == Some(&'!');
    let mut chunks: Vec<Vec<char>> = Vec::new();
    let mut start = 0;
    let mut search = if negated { 2 } else { 1 };
    while let Some(hyphen) = inside
        .iter()
        .enumerate()
        .skip(search)
        .find_map(|(index, c)| (*c == '-').then_some(index))
    {
        chunks.push(inside[start..hyphen].to_vec());
        start = hyphen + 1;
        search = hyphen + 3;
    }
    let rest = &inside[start.min(inside.len())..];
    match chunks.last_mut() {
        // A hyphen at the end is a member.
        Some(last) if rest.is_empty() => last.push('-'),
        _ => chunks.push(rest.to_vec()),
    }
    // A range whose end is before its start is dropped with both of its ends, as in Python.
    for index in (1..chunks.len()).rev() {
        if chunks[index - 1].last() > chunks[index].first() {
            let after = chunks.remove(index);
            chunks[index - 1].pop();
            chunks[index - 1].extend_from_slice(&after[1..]);
        }
    }
    let mut ranges = Vec::new();
    for pair in chunks.windows(2) {
        if let (Some(low), Some(high)) = (pair[0].last(), pair[1].first()) {
            ranges.push((*low, *high));
        }
    }
    let members = chunks.concat();
    let members = members.strip_prefix(&['!']).filter(|_| negated).unwrap_or(&members);
    ranges.extend(members.iter().map(|c| (*c, *c)));
    Token::Class { negated, ranges }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("*.safetensors", "a/b.safetensors", true)]
    #[case("data/", "data/x/y", true)]
    #[case("data/", "data", false)]
    #[case("*.json", "x.JSON", false)]
    #[case("original/*", "original/a/b", true)]
    #[case(".*", "a/.x", false)]
    #[case(".*", ".x", true)]
    #[case("?.txt", "a.txt", true)]
    #[case("?.txt", "/.txt", true)]
    #[case("?.txt", ".txt", false)]
    #[case("a*b*c", "a/bb/cc/c", true)]
    #[case("a*b*c", "a/bb/cc/d", false)]
    #[case("a**", "a", true)]
    #[case("[ab]c", "bc", true)]
    #[case("[!ab]c", "bc", false)]
    #[case("[!ab]c", "xc", true)]
    #[case("[a-c-e]", "-", true)]
    #[case("[a-c-e]", "d", false)]
    #[case("[a-]", "-", true)]
    #[case("[-a]", "-", true)]
    #[case("[!-a]", "-", false)]
    #[case("[c-a]", "b", false)]
    #[case("[c-a]", "c", false)]
    #[case("[!c-a]", "c", true)]
    #[case("[]a]", "]", true)]
    #[case("[!]a]", "]", false)]
    #[case("[]", "[]", true)]
    #[case("[", "[", true)]
    #[case("[!", "[!", true)]
    #[case("[abc", "[abc", true)]
    #[case("[^a]", "a", true)]
    #[case("[^a]", "^", true)]
    #[case("[[]x", "[x", true)]
    #[case("[!!]", "!", false)]
    #[case("{a,b}", "a", false)]
    #[case("{a,b}", "{a,b}", true)]
    #[case("a\\*", "a*", false)]
    #[case("ü?", "üß", true)]
    #[case("model-0000[1-3]-of-*", "model-00002-of-00009.safetensors", true)]
    fn a_pattern_matches_as_fnmatchcase_does(#[case] text: &str, #[case] path: &str, #[case] matches: bool) {
        assert_eq!(pattern(text).matches(path), matches);
    }

    #[test]
    fn a_pattern_with_many_stars_matches_in_polynomial_time() {
        let text = "a*".repeat(64);
        assert!(!pattern(&format!("{text}b")).matches(&"a".repeat(1024)));
    }

    #[test]
    fn an_empty_pattern_is_refused() {
        assert_eq!("".parse::<Pattern>(), Err(EmptyPattern));
    }
}
