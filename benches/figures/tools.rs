//! What takes part besides the binary under test: the floor and the child, in C, compiled on
//! first use by the compiler that Rust links with.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::table::Table;

/// The three executables.
pub struct Tools {
    pub ours: PathBuf,
    pub floor: PathBuf,
    pub child: PathBuf,
}

impl Tools {
    /// Compiles what is older than its source.
    pub fn build(table: &mut Table) -> Self {
        let ours = std::env::var_os("PROCSCHED_BENCH_BINARY");
        let ours = ours.unwrap_or_else(|| env!("CARGO_BIN_EXE_procsched-min").into());
        let ours = std::path::absolute(ours).expect("a path");
        assert!(ours.is_file(), "{} is no program", ours.display());
        let floor = compile("floor", &[]).expect("a C compiler");
        let child = compile("child", &["-static"]).unwrap_or_else(|| {
            let remark = "there is no static libc: the child is linked dynamically, and its own \
                          start hides differences";
            table.remark(remark.to_owned());
            compile("child", &[]).expect("a C compiler")
        });
        table.remark(format!("procsched is {}", ours.display()));
        // What the linker wrote a moment ago would count as dirty memory of who executes it.
        for path in [&ours, &floor, &child] {
            let file = File::open(path).expect("an executable");
            file.sync_all().expect("a file that can be synced");
        }
        Self { ours, floor, child }
    }
}

/// Compiles `benches/NAME.c` into cargo's target directory; `None` if that cannot be.
fn compile(name: &str, flags: &[&str]) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = source.join("benches").join(name).with_extension("c");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = target.join(name);
    let written = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    if written(&program).is_some_and(|at| Some(at) > written(&source)) {
        return Some(program);
    }
    std::fs::create_dir_all(target).expect("cargo's directory");
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-s", "-o"])
        .arg(&program)
        .args(flags)
        .arg(&source)
        .status();
    status
        .is_ok_and(|status| status.success())
        .then_some(program)
}
