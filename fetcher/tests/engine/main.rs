//! The engine against a server on loopback that can misbehave in every way a test asks for.

mod faults;
mod hub;
mod integrity;
mod resume;
mod reuse;
