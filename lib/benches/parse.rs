//! How long `Material::parse` takes, up to a CA file of the size of a public root store.
fn main() {}
