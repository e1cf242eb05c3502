//! The directories that a scheduler needs. What would make it refuse them can be asked without
//! creating anything.

use std::fs::{DirBuilder, metadata, symlink_metadata};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};

use crate::error::{Error, Result};

const NO_DIRECTORY: &str = "it is not a directory";

/// Checks that programs can be run in it.
pub(crate) fn check_base_dir(directory: &Path) -> Result<()> {
    let what = || format!("failed to use the base directory {directory:?}");
    let found = metadata(directory).map_err(|error| Error::io(what(), &error))?;
    if found.is_dir() {
        Ok(())
    } else {
        Err(Error::because(what(), NO_DIRECTORY))
    }
}

/// Creates it if it is missing, and checks that logs can be created in it.
pub(super) fn prepare_err_dir(directory: &Path) -> Result<()> {
    if !directory.exists() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        let created = builder.create(directory);
        created.map_err(|error| Error::io(unusable(directory), &error))?;
    }
    check_err_dir(directory)
}

/// Checks that logs can be created in it, and that it can be created if it is missing, as far as
/// that is known before: a disk may be full.
pub(crate) fn check_err_dir(directory: &Path) -> Result<()> {
    // From the directory up to the first of its parents that exists.
    for place in directory.ancestors() {
        let failed = |reason: String| {
            let reason = match place == directory {
                true => reason,
                false => format!("it cannot be created in {place:?}: {reason}"),
            };
            Error::because(unusable(directory), reason)
        };
        match metadata(place) {
            Ok(found) if !found.is_dir() => return Err(failed(NO_DIRECTORY.to_owned())),
            Ok(_) => {
                let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
                access(place, wanted)
                    .map_err(|errno| failed(crate::error::errno_text(errno as i32)))?;
                if place != directory && takes_no_directory(place) {
                    return Err(failed("it belongs to the kernel".to_owned()));
                }
                return Ok(());
            }
            Err(error) if symlink_metadata(place).is_ok() => {
                let what = "its symbolic link cannot be followed";
                return Err(failed(Error::io(what, &error).to_string()));
            }
            Err(error) => match error.kind() {
                // Its parent will tell, or is a file.
                ErrorKind::NotFound | ErrorKind::NotADirectory => {}
                _ => return Err(Error::io(unusable(directory), &error)),
            },
        }
    }
    Ok(())
}

fn unusable(directory: &Path) -> String {
    format!("failed to use the log directory {directory:?}")
}

/// Whether mkdir(2) fails there although access(2) permits it, as for root.
fn takes_no_directory(place: &Path) -> bool {
    let kinds = [PROC_SUPER_MAGIC, SYSFS_MAGIC, DEVPTS_SUPER_MAGIC];
    statfs(place).is_ok_and(|found| kinds.contains(&found.filesystem_type()))
}
