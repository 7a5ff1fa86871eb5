//! Links the first process by the runtime's linker script, when it is built for the bare machine.

fn main() {
    let script = "../user-rt/first-process.ld";
    println!("cargo:rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
        println!("cargo:rustc-link-arg-bins=-T{folder}/{script}");
    }
}
