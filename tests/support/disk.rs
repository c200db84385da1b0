//! A disk of our own: ext4 in a file, on a loop device, mounted for one test.
//!
//! It can lose its power, fill up and turn read-only, and nothing else on this machine feels it.
//! A shell of its own session reads a pipe from this process and unmounts the disk when that
//! closes: also when a test is killed, no mount and no loop device stays behind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::eventually;

/// `EXT4_IOC_SHUTDOWN`, with the flag that says: what the log has not got yet is lost, too.
/// Perl, which every Debian has, because an ioctl from Rust needs unsafe code.
///
/// The machine that loses its power stops, too: the daemon is frozen first, and killed after.
/// Else an fsync that is under way returns to it as if it had succeeded (ext4 forgets to say
/// that the extents it had just written were not converted), and it answers out of its grave.
/// Only one thread takes the signal and then stops the others, so all are waited for: none runs
/// any more, and one that is inside an fsync stops when it comes out of it.
const CUT: &str = r#"my ($at, $pid) = (@ARGV, 0);
    open(my $dir, "<", $at) or die "open: $!";
    my $flag = pack("L", 2);
    kill("STOP", $pid) or die "STOP: $!" if $pid;
    for (1 .. $pid ? 20000 : 0) {
        my @states = map { open(my $stat, "<", $_) && <$stat> =~ /\) (.)/ ? $1 : () }
            glob("/proc/$pid/task/*/stat");
        last if grep(/T/i, @states) && !grep(/[RS]/, @states);
        die "the daemon does not stop: @states" if $_ == 20000;
        select(undef, undef, undef, 0.0005);
    }
    ioctl($dir, 0x8004587d, $flag) or die "EXT4_IOC_SHUTDOWN: $!";
    kill("KILL", $pid) if $pid;"#;

/// A mounted disk.
pub struct Disk {
    image: tempfile::TempDir,
    at: PathBuf,
    janitor: Child,
    mounted: bool,
}

impl Disk {
    /// Makes a disk and mounts it on a folder, which is made where it is not there.
    pub fn mount(at: &Path, mebibytes: u64) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests mount disks of their own, cut their power and trace the daemon: run \
             them as root"
        );
        let image = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(image.path().join("disk")).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image.path().join("disk")));
        std::fs::create_dir_all(at).unwrap();
        let janitor = Command::new("setsid")
            .args([
                "sh",
                "-c",
                "cat > /dev/null; while umount -l \"$0\"; do :; done; rm -rf \"$1\"",
            ])
            .arg(at)
            .arg(image.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut disk = Self { image, at: at.to_path_buf(), janitor, mounted: false };
        disk.mount_again();
        disk
    }

    fn mount_again(&mut self) {
        run(Command::new("mount")
            .args(["-o", "loop,errors=remount-ro"])
            .arg(self.image.path().join("disk"))
            .arg(&self.at));
        self.mounted = true;
    }

    /// The power goes, for the disk and a process on it: what was not fsynced is gone.
    pub fn cut_power(&self, pid: u32) {
        run(Command::new("perl").args(["-e", CUT]).arg(&self.at).arg(pid.to_string()));
    }

    /// The disk dies under who uses it: every later write and fsync is EIO.
    pub fn die(&self) {
        run(Command::new("perl").args(["-e", CUT]).arg(&self.at));
    }

    /// The disk does what ext4 does by itself when it finds an error: it turns read-only, under
    /// the files that are open.
    pub fn turn_read_only(&self) {
        let source = run(Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(&self.at));
        let device = source.trim().strip_prefix("/dev/").unwrap().to_owned();
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(&trigger, "1\n").unwrap_or_else(|error| panic!("{trigger}: {error}"));
        let probe = self.at.join("probe");
        eventually("the disk is read-only", || std::fs::write(&probe, "").is_err());
    }

    /// The machine starts again: the disk is there with what it holds. Nobody may use it now.
    pub fn restart(&mut self) {
        self.unmount();
        // What `turn_read_only` did is noted on the disk, and repaired as at a boot.
        let checked =
            Command::new("e2fsck").arg("-fp").arg(self.image.path().join("disk")).output().unwrap();
        assert!(checked.status.code().is_some_and(|code| code < 4), "{checked:?}");
        self.mount_again();
    }

    fn unmount(&mut self) {
        // Whoever was killed a moment ago may still be on its way out.
        eventually("the disk is not used any more", || {
            Command::new("umount").arg(&self.at).output().unwrap().status.success()
        });
        self.mounted = false;
    }

    /// Fills the disk but for some bytes, about.
    pub fn fill_but(&self, left: u64) {
        let mut length = self.free().saturating_sub(left);
        // What the filler's own map needs is not known before.
        while !Command::new("fallocate")
            .args(["-l", &length.to_string()])
            .arg(self.at.join("filler"))
            .output()
            .unwrap()
            .status
            .success()
        {
            length = length.checked_sub(64 << 10).expect("the disk can be filled");
        }
        if left == 0 {
            let mut rest = std::fs::File::create(self.at.join("filler-rest")).unwrap();
            while std::io::Write::write(&mut rest, &[0; 4096]).is_ok() {}
        }
    }

    /// Frees what [`Disk::fill_but`] took.
    pub fn free_again(&self) {
        std::fs::remove_file(self.at.join("filler")).unwrap();
        std::fs::remove_file(self.at.join("filler-rest")).ok();
    }

    /// Bytes that can be written.
    pub fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.at).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            Command::new("umount").arg(&self.at).output().ok();
        }
        drop(self.janitor.stdin.take());
        self.janitor.wait().ok();
    }
}

/// Runs a program that must succeed, and gives what it prints.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("these tests need {:?}: {error}", command.get_program()));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
