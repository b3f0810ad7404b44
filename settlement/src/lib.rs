//! The settlement process: what the exchange agreed becomes machines that people log in to.

pub mod machine;
pub mod provision;
