//! Which files may be run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const EXECUTABLE: u32 = 0o111;

/// Whether nobody but root can change what is run: the file, and every folder on the way to it, is root's and writable by nobody
/// else. Links are followed to their end first.
///
/// # Errors
/// What is otherwise, and the command that cures it.
pub(super) fn examine(path: &Path) -> Result<(), String> {
    let at = |path: &Path| format!("script = \"{}\"", path.display());
    let real = fs::canonicalize(path).map_err(|error| format!("{}: {error}", at(path)))?;
    let found = fs::metadata(&real).map_err(|error| format!("{}: {error}", at(path)))?;
    if !found.is_file() {
        return Err(format!("{}: it is no file", at(path)));
    }
    if found.mode() & EXECUTABLE == 0 {
        return Err(format!(
            "{}: it is no program; `chmod 755 {}`",
            at(path),
            real.display()
        ));
    }
    for place in real.ancestors() {
        let found = fs::metadata(place).map_err(|error| format!("{}: {error}", at(path)))?;
        let place = place.display();
        if found.uid() != 0 {
            return Err(format!(
                "{}: {place} is not root's; `chown root {place}`",
                at(path)
            ));
        }
        if found.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(format!(
                "{}: others than root can write {place}; `chmod go-w {place}`",
                at(path)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_others_can_change_is_refused() {
        assert_eq!(examine(Path::new("/bin/true")), Ok(()));
        let refused = |path: &str| examine(Path::new(path)).expect_err(path);
        assert!(refused("/etc/passwd").contains("chmod 755"));
        assert!(refused("/etc").contains("no file"));
        assert!(refused("/nowhere/at/all").contains("/nowhere/at/all"));
        // The folder for temporary files is everybody's.
        let path = std::env::temp_dir().join(format!("lvsx-script-{}", std::process::id()));
        fs::write(&path, "#!/bin/sh\n").expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let why = refused(&path.to_string_lossy());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("it is ours");
        let worse = refused(&path.to_string_lossy());
        fs::remove_file(&path).expect("it is ours");
        assert!(
            why.contains("can write") || why.contains("not root's"),
            "{why}"
        );
        assert!(
            worse.contains(&format!("chmod go-w {}", path.display()))
                || worse.contains("not root's"),
            "{worse}"
        );
    }
}
