//! What the bytes mean: the only way from raw bytes to [`Material`] is [`Material::parse`].
//!
//! No file, no clock, no async here. After parsing there is no half-valid state and nothing left
//! to check.

mod reason;

pub use reason::{Reason, Rejection, Warning};
