//! The hash of a configuration: what a record names it by.
//!
//! Promises: the same files give the same hash, wherever they lie; a secret counts by its name and
//! not by what it is.
//! Knows nothing of: what is in the files.
//!
//! It is what `sha256sum` of all files, sorted by name, and `sha256sum` of that gives:
//! docs/audit.md has the line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use crate::secret::hex;

/// `sha256:` and the hash over the files by name; names are relative to the folder of the main
/// file, as configured.
pub(super) fn of(files: &BTreeMap<String, String>, main: &Path) -> String {
    let dir = match main.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let shorten = |name: &str| {
        let path = Path::new(name);
        path.strip_prefix(&dir).unwrap_or(path).display().to_string()
    };
    let named: BTreeMap<String, &String> =
        files.iter().map(|(name, hash)| (shorten(name), hash)).collect();
    let mut context = Context::new(&SHA256);
    for (name, hash) in named {
        context.update(format!("{hash}  {name}\n").as_bytes());
    }
    format!("sha256:{}", hex(context.finish().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_names_and_contents_and_not_of_where_they_lie() {
        let files = |dir: &str, hash: &str| {
            let name = |name: &str| (format!("{dir}{name}"), hash.to_owned());
            BTreeMap::from([name("a.toml"), name("routes/b.toml")])
        };
        let one = of(&files("/etc/tidegate/", "00"), Path::new("/etc/tidegate/a.toml"));
        assert_eq!(one, of(&files("conf/", "00"), Path::new("conf/a.toml")));
        assert_eq!(one, of(&files("./", "00"), Path::new("a.toml")));
        assert_ne!(one, of(&files("conf/", "01"), Path::new("conf/a.toml")));
        assert!(one.starts_with("sha256:") && one.len() == 71);
    }
}
