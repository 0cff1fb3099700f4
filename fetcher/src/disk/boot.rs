//! The identity of a machine's boot.
//!
//! Written bytes stay intact while the machine runs, even if the process is killed. After a reboot, or on another
//! machine, bytes that were not synced may be torn or missing.

use std::fs;

/// Linux generates a new id at each boot, and shows it in containers too.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One boot of one machine, or an unknown one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot(Option<String>);

impl Boot {
    /// The current boot of this machine.
    #[must_use]
    pub fn current() -> Self {
        Self::named(&fs::read_to_string(BOOT_ID).unwrap_or_default())
    }

    /// An unknown boot. It matches no boot, not even itself.
    pub(crate) const UNKNOWN: Self = Self(None);

    /// The boot with this id; an empty id is an unknown boot.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = name.trim();
        Self((!name.is_empty()).then(|| name.to_owned()))
    }

    /// The id that a journal records; empty if unknown.
    pub(crate) fn name(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether both are known to be the same boot, so that no written byte was lost in between.
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
        assert!(Boot::current().is_still(&Boot::current()), "Linux has a boot id");
    }
}
