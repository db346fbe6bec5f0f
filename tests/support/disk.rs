//! File systems that can be full or stand still. They need root and mount(8); without, there is `None` and a message,
//! and the test is skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted file system; unmounted with its owner. Make it before the [`super::Cim`] that uses it, so that it goes last.
pub struct Mount {
    dir: TempDir,
}

impl Mount {
    /// A file system in memory of `kib` KiB.
    pub fn tmpfs(kib: u32) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        let size = format!("size={kib}k");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path().join("mnt")))
        .then_some(Self { dir })
    }

    /// An ext4 file system of `mib` MiB in a file, which can be frozen.
    pub fn ext4(mib: u32) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let (image, mnt) = (dir.path().join("image"), dir.path().join("mnt"));
        std::fs::create_dir(&mnt).unwrap();
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(u64::from(mib) << 20).unwrap();
        let made = run(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&mnt));
        made.then_some(Self { dir })
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// Nothing is written until the answer is dropped: who writes stands still. Drop it before any process that may
    /// stand still in it is waited for.
    pub fn freeze(&self) -> Option<Frozen> {
        run(Command::new("fsfreeze").arg("-f").arg(self.path())).then(|| Frozen(self.path()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// A frozen file system; thawed at the end.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        run(Command::new("fsfreeze").arg("-u").arg(&self.0));
    }
}

/// Runs `command`; says so when it fails.
fn run(command: &mut Command) -> bool {
    let output = super::forks::output(command);
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            eprintln!("skipped: {:?}: {}", command.get_program(), text.trim());
            false
        }
        Err(error) => {
            eprintln!("skipped: {:?}: {error}", command.get_program());
            false
        }
    }
}

/// A file of `bytes` bytes that takes space; fewer when there is not enough.
pub fn ballast(path: &Path, bytes: usize) {
    let _ = std::fs::write(path, vec![b'b'; bytes]);
}
