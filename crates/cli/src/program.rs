//! How this program is called, for the commands that it tells people to type.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What to type for this program: `albacore` where the shell finds it by that name, and otherwise the
/// path by which it was started, as in `target/release/albacore`.
pub fn program() -> String {
    let started = env::args_os().next().unwrap_or_else(|| NAME.into());
    let here = env::current_dir().unwrap_or_default();
    spell(Path::new(&started), &here, env::var_os("PATH").as_deref())
}

const NAME: &str = "albacore";

fn spell(started: &Path, here: &Path, path: Option<&OsStr>) -> String {
    // Without a folder, the shell has found it.
    let found = started.components().count() == 1;
    if found || path.is_some_and(|path| is_on(path, started)) {
        return NAME.into();
    }
    let text = match started.strip_prefix(here) {
        Ok(below) if below.components().count() > 1 => below.display().to_string(),
        _ => started.display().to_string(),
    };
    if text.contains(char::is_whitespace) { format!("'{text}'") } else { text }
}

/// Whether the shell finds this very file by its name.
fn is_on(path: &OsStr, started: &Path) -> bool {
    let real = |file: PathBuf| fs::canonicalize(file).ok();
    let first = env::split_paths(path).map(|folder| folder.join(NAME)).find(|file| file.is_file());
    first.and_then(real).is_some_and(|first| real(started.to_owned()) == Some(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_called_as_it_was_started_where_the_shell_does_not_find_it() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let program = here.join("target/release/albacore");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        let relative = Path::new("target/release/albacore");
        let elsewhere = Some(OsStr::new("/nowhere"));
        assert_eq!(spell(relative, here, elsewhere), "target/release/albacore");
        assert_eq!(spell(&program, here, elsewhere), "target/release/albacore");
        assert_eq!(spell(&program, Path::new("/elsewhere"), None), program.display().to_string());
        assert_eq!(spell(Path::new("/a b/albacore"), here, None), "'/a b/albacore'");
        assert_eq!(spell(Path::new("albacore"), here, elsewhere), "albacore");
        assert_eq!(spell(&program, here, program.parent().map(Path::as_os_str)), "albacore");
    }
}
