//! Small files of the system, and what their failures mean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::energy::ReadError;

/// What refusing to read `path` means; `grant` says how to get the permission.
pub(super) fn fault(path: &Path, error: &io::Error, grant: &str) -> ReadError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::NotFound => ReadError::Absent(path),
        io::ErrorKind::PermissionDenied => ReadError::Denied { path, grant: grant.to_owned() },
        _ => ReadError::Senseless { path, problem: error.to_string() },
    }
}

/// The file's text without the spaces around it.
pub(in crate::energy) fn text(path: &Path, grant: &str) -> Result<String, ReadError> {
    let text = fs::read_to_string(path).map_err(|error| fault(path, &error, grant))?;
    Ok(text.trim().to_owned())
}

/// The file's whole number.
pub(in crate::energy) fn number(path: &Path, grant: &str) -> Result<i64, ReadError> {
    let text = text(path, grant)?;
    text.parse().map_err(|_| {
        let start: String = text.chars().take(40).collect();
        ReadError::Senseless { path: path.display().to_string(), problem: format!("`{start}` is no whole number") }
    })
}

/// What is in a folder, in the order of the names (with numbers in them as numbers); nothing where it cannot be read.
pub(in crate::energy) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort_by_key(|name| {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, number) = name.split_at(name.len() - digits);
        (stem.to_owned(), number.parse::<u64>().unwrap_or(0))
    });
    names.into_iter().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_to_do() {
        let path = Path::new("/sys/x");
        let denied = fault(path, &io::ErrorKind::PermissionDenied.into(), "be root");
        assert_eq!(denied.to_string(), "/sys/x: permission denied: be root");
        assert_eq!(fault(path, &io::ErrorKind::NotFound.into(), "").to_string(), "/sys/x: not there");
        // What sysfs says of a sensor that is switched off.
        let off = fault(path, &io::Error::from_raw_os_error(61), "");
        assert!(matches!(off, ReadError::Senseless { .. }), "{off}");
    }

    #[test]
    fn numbers_and_folders() {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in [("hwmon10", "12\n"), ("hwmon2", " -7 "), ("hwmon1", "1.5"), ("name", "")] {
            fs::write(root.path().join(name), content).unwrap();
        }
        let names: Vec<_> = entries(root.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["hwmon1", "hwmon2", "hwmon10", "name"]);
        let read = |name: &str| number(&root.path().join(name), "");
        assert_eq!((read("hwmon10"), read("hwmon2")), (Ok(12), Ok(-7)));
        for name in ["hwmon1", "name"] {
            assert!(matches!(read(name), Err(ReadError::Senseless { .. })), "{name}");
        }
        assert!(entries(&root.path().join("nowhere")).is_empty());
    }
}
