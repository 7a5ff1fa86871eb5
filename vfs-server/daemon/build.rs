//! Programs are linked at 0x400000, where root-task expects them.
fn main() {
    println!("cargo:rustc-link-arg-bins=--image-base=0x400000");
    println!("cargo:rerun-if-changed=build.rs");
}
