//! Links the programs at 0x400000 when they are built for the bare machine, and the one that is a
//! first process by the runtime's linker script.

const FIRST_PROCESSES: [&str; 1] = ["contract"];

fn main() {
    let script = "../qemu/user-rt/first-process.ld";
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-changed=src/bin");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "none") {
        return;
    }
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
    for entry in std::fs::read_dir("src/bin").expect("there are programs").flatten() {
        let path = entry.path();
        let name = path.file_stem().expect("a program has a name").to_string_lossy().into_owned();
        if FIRST_PROCESSES.contains(&name.as_str()) {
            println!("cargo:rustc-link-arg-bin={name}=-T{folder}/{script}");
        } else {
            println!("cargo:rustc-link-arg-bin={name}=--image-base=0x400000");
        }
    }
}
