//! proc(5), also where nobody has mounted it.

use crate::{broken, must};

/// Does something with an instance of proc(5) as the working directory. None of it is seen
/// there: no descriptor stays open, and the working directory is what it was afterwards.
pub fn visit(look: impl FnOnce()) {
    let directory = std::env::current_dir().unwrap_or_else(|_| broken("getcwd"));
    if std::path::Path::new("/proc/self").exists() {
        std::env::set_current_dir("/proc").unwrap_or_else(|_| broken("/proc"));
    } else {
        enter_unmounted();
    }
    look();
    std::env::set_current_dir(directory).unwrap_or_else(|_| broken("the old directory"));
}

/// Makes an instance that is mounted nowhere (Linux 5.2, root), and goes there.
fn enter_unmounted() {
    const CREATE: libc::c_uint = 6; // FSCONFIG_CMD_CREATE
    // SAFETY: NUL-terminated strings, null where nothing is to be said, and plain numbers; the
    // descriptors are this function's own.
    unsafe {
        let context = must(
            libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), 0),
            "fsopen",
        );
        let null = std::ptr::null::<libc::c_char>();
        let made = libc::syscall(libc::SYS_fsconfig, context, CREATE, null, null, 0);
        must(made, "fsconfig");
        let mount = must(libc::syscall(libc::SYS_fsmount, context, 0, 0), "fsmount");
        must(libc::fchdir(mount as i32), "fchdir");
        libc::close(mount as i32);
        libc::close(context as i32);
    }
}
