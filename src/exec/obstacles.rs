//! What keeps this process from starting or stopping a program, as far as that shows before it is tried.

use std::path::Path;

use super::lookup::unreadable;
use crate::error::Error;
use crate::os::privileges;
use crate::spec::ChildSpec;

impl ChildSpec {
    /// Returns why a start would fail if it were tried by this process now, as far as that is known
    /// without a try: what of its attributes needs privileges that we do not have, or a file that cannot
    /// be read. Each with the key of the config that it is about.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// # use std::path::Path;
    /// let load = ChildSpec::new("load", ["psql"]).stdin("no-such-dump.sql");
    /// let (key, error) = load.obstacles(Path::new("/srv")).remove(0);
    /// assert_eq!(key, "stdin");
    /// assert_eq!(
    ///     error.to_string(),
    ///     "failed to open its stdin \"/srv/no-such-dump.sql\": No such file or directory"
    /// );
    /// ```
    #[must_use]
    pub fn obstacles(&self, base_dir: &Path) -> Vec<(&'static str, Error)> {
        let Some(attributes) = self.attributes.as_deref() else {
            return Vec::new();
        };
        let mut found = privileges::missing_for(attributes);
        let stdin = attributes.stdin.as_ref().map(|path| base_dir.join(path));
        if let Some(path) = stdin
            && let Some(errno) = unreadable(&path)
        {
            let what = format!("failed to open its stdin {path:?}");
            found.push(("stdin", Error::os(what, errno)));
        }
        found
    }

    /// Returns why this process could not stop it: it may start it as another user, and may not signal
    /// processes of that.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// assert_eq!(ChildSpec::new("web", ["./web"]).stop_obstacle(), None);
    /// ```
    #[must_use]
    pub fn stop_obstacle(&self) -> Option<Error> {
        privileges::unreachable(self.attributes.as_deref()?.uid()?)
    }
}
