//! Which start of which machine this is. Bytes that a process has written stay as it wrote them for as long as the
//! machine runs; only what another start, or another machine, finds on a volume may have been torn since.

use std::fs;

/// Linux makes a new one at each start, and tells it in containers, too.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A start of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot(Option<String>);

impl Boot {
    /// The start of this machine.
    #[must_use]
    pub fn current() -> Self {
        Self::named(&fs::read_to_string(BOOT_ID).unwrap_or_default())
    }

    /// A start that is not known: it is like no other, nor like itself.
    pub(crate) const UNKNOWN: Self = Self(None);

    /// A start by its name; without one it is not known.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = name.trim();
        Self((!name.is_empty()).then(|| name.to_owned()))
    }

    /// What a journal notes of it.
    pub(crate) fn name(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether it is known that nothing can have happened in between.
    pub(crate) fn is_still(&self, other: &Self) -> bool {
        self.0.is_some() && self == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_still_the_same_only_where_it_is_known() {
        let (one, other) = (Boot::named("one\n"), Boot::named("other"));
        assert!(one.is_still(&Boot::named("one")));
        assert!(!one.is_still(&other));
        assert!(!Boot::UNKNOWN.is_still(&Boot::UNKNOWN));
        assert_eq!(Boot::named(" \n"), Boot::UNKNOWN);
        assert!(Boot::current().is_still(&Boot::current()), "Linux names its starts");
    }
}
