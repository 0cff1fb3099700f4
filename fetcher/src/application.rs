//! What the subcommands share: opening sources and mirrors, choosing a layout, recording where a revision came from.

pub(crate) mod estimate;
pub(crate) mod layout;
pub(crate) mod mirrors;
pub(crate) mod open;
pub(crate) mod probe;
pub(crate) mod recorded;
