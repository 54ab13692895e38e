//! Tells cargo that the embedded migrations belong to the binary; it never generates code.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
