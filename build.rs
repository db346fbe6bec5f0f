//! What the linker does beyond the ordinary for a release build: a smaller file, and fewer of its pages resident.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// The first glibc whose loader knows packed relative relocations (DT_RELR).
const GLIBC_WITH_RELR: (u32, u32) = (2, 36);
const ORDER: &str = "link/order.txt";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ORDER}");
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|is| is == value);
    let own_linker = env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    let ordinary = is("CARGO_CFG_TARGET_ENV", "gnu") && is("CARGO_CFG_TARGET_OS", "linux");
    // GNU ld and LLVM's lld, which Rust uses, know what follows; another one may not.
    if !is("PROFILE", "release") || !ordinary || own_linker {
        return Ok(());
    }
    if let Some(script) = write_order()? {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
    let native = env::var("HOST") == env::var("TARGET");
    if native && glibc().is_some_and(|version| version >= GLIBC_WITH_RELR) {
        // A tenth of the bytes for the addresses that the loader sets at the start, all of which it reads.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    Ok(())
}

/// A linker script that puts the functions of the list in front of all others; `None` when the list is empty, as while it is made
/// anew. `*` in the list is what differs from build to build.
fn write_order() -> io::Result<Option<PathBuf>> {
    let list = fs::read_to_string(ORDER)?;
    if list.is_empty() {
        return Ok(None);
    }
    let mut script = String::from("SECTIONS { .text.ordered : {\n");
    for name in list.lines().filter(|line| !line.starts_with('#')) {
        // What LLVM takes for cold has a prefix.
        script += &format!("*(.text.{name}* .text.unlikely.{name}*)\n");
    }
    script += "} } INSERT BEFORE .text;\n";
    let path = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("order.ld");
    fs::write(&path, script)?;
    Ok(Some(path))
}

/// The version of this machine's C library; `None` where it is another one.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
