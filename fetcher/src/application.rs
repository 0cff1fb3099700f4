//! Steps that the commands share: selecting files, opening sources and mirrors, choosing a layout, reopening recorded
//! sources, checking weights, probing origins.

pub(crate) mod estimate;
pub(crate) mod formats;
pub(crate) mod layout;
pub(crate) mod mirrors;
pub(crate) mod probe;
pub(crate) mod recorded;
pub(crate) mod selection;
