//! Compiles the default seccomp profile, so that a start neither compiles nor reads a file.

#[allow(dead_code, unreachable_pub)]
#[path = "src/seccomp/aarch64.rs"]
mod aarch64;
#[allow(dead_code, unreachable_pub)]
#[path = "src/seccomp/compile.rs"]
mod compile;
#[allow(dead_code, unreachable_pub)]
#[path = "src/seccomp/profile.rs"]
mod profile;
#[allow(dead_code, unreachable_pub)]
#[path = "src/seccomp/x86_64.rs"]
mod x86_64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/seccomp");
    let arch = match std::env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => compile::Arch::X86_64,
        "aarch64" => compile::Arch::Aarch64,
        other => return Err(format!("there is no system call table for {other} yet").into()),
    };
    // Without capabilities: none of the default ones changes the profile, which a test holds.
    let program = compile::compile(&profile::DEFAULT, 0, arch)?;
    let path = std::path::Path::new(&std::env::var("OUT_DIR")?).join("default.bpf");
    std::fs::write(path, compile::bytes(&program))?;
    Ok(())
}
