//! Checks the wording of everything that users read from this crate: field docs, validation messages, printer columns
//! and the reference page of conditions.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]

use modelcache_crds::conditions;
use modelcache_crds::model_cache::custom_resource_definition;
use serde_json::Value;

/// Words and phrases with a plain equivalent: report or log, again, delivers, is not a, continues, is listed.
const AVOIDED: [&str; 16] = [
    "told",
    "tell",
    "tells",
    "anew",
    "bring",
    "brings",
    "brought",
    "stands",
    "so many",
    "again and again",
    "to have it all the same",
    "is no",
    "as it is told",
    "goes on",
    "left out:",
    "for ever",
];

/// The avoided words that a text uses, as whole words.
fn avoided_in(text: &str) -> Vec<&'static str> {
    let is_word = |character: char| character.is_alphanumeric();
    let text = text.to_lowercase();
    AVOIDED
        .into_iter()
        .filter(|avoided| {
            text.match_indices(avoided).any(|(start, found)| {
                !text[..start].ends_with(is_word) && !text[start + found.len()..].starts_with(is_word)
            })
        })
        .collect()
}

/// Collects every `description` and `message` of the definition.
fn texts(node: &Value, found: &mut Vec<String>) {
    match node {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if key == "description" || key == "message" => found.push(text.clone()),
                    value => texts(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        _ => {}
    }
}

#[test]
fn no_user_facing_text_uses_an_avoided_word() {
    let mut found = vec![conditions::documentation()];
    texts(&serde_json::to_value(custom_resource_definition()).unwrap(), &mut found);
    for text in found {
        assert_eq!(avoided_in(&text), [] as [&str; 0], "{text}");
    }
}

#[test]
fn avoided_words_are_found_as_whole_words_in_any_case() {
    assert_eq!(avoided_in("Told again"), ["told"]);
    assert_eq!(avoided_in("It is no file"), ["is no"]);
    assert_eq!(avoided_in("It is not a file; untold"), [] as [&str; 0]);
}
