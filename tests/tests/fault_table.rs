//! Checks that every test named in `docs/faults.md` exists.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The sources of the workspace by module name: the module `range` is `range.rs`, `range/tests.rs` or `range/main.rs`.
fn sources(root: &Path) -> BTreeMap<String, Vec<String>> {
    let mut sources = BTreeMap::<_, Vec<_>>::new();
    let mut folders: Vec<PathBuf> = ["crds", "fetcher", "operator", "tests"]
        .map(|member| root.join(member))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                if matches!(name.as_str(), "tests" | "main") {
                    let parent = folder.file_name().unwrap().to_string_lossy().into_owned();
                    sources.entry(parent).or_default().push(text.clone());
                }
                sources.entry(name).or_default().push(text);
            }
        }
    }
    sources
}

#[test]
fn every_test_in_the_fault_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = sources(root);
    let table = fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("| Test |"));
    let mut missing = Vec::new();
    let mut count = 0;
    for row in rows {
        let tests = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            missing.push(format!("a test name in: {row}"));
        }
        for name in named {
            count += 1;
            let (path, function) = name.rsplit_once("::").unwrap_or(("", name));
            let module = path.rsplit("::").next().unwrap_or_default();
            let exists = sources
                .get(module)
                .is_some_and(|texts| texts.iter().any(|text| text.contains(&format!("fn {function}("))));
            if !exists {
                missing.push(name.to_owned());
            }
        }
    }
    assert_eq!(missing, [""; 0], "docs/faults.md names tests that do not exist");
    assert!(
        count > 50,
        "found only {count} tests: the format of the table has changed"
    );
}
