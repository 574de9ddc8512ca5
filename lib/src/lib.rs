//! NATS clients that keep working while certificate, key and CA are renewed under them.

mod backoff;
mod clock;
mod crypto;
pub mod material;
pub mod source;
