//! Where in the file a definition is that the scheduler has refused.

use super::errors::{ConfigErrors, Problems};
use super::item::Item;
use super::{Config, instances, read_again, syntax};
use crate::error::Error;

impl Config {
    /// Returns an error of [`apply_with`](crate::ProcessScheduler::apply_with) with its place in the
    /// file that this config comes from. One of [`Config::reload`] knows what it has read; for another
    /// the file is read once more. `None` if it is about no key of a program, or the file does
    /// not have that program.
    ///
    /// ```
    /// use procsched::ApplyOptions;
    /// use procsched::config::Config;
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("procsched.json");
    ///
    /// std::fs::write(&path, r#"{"err_dir": "log", "programs": {"web": ["sleep", "60"]}}"#)?;
    /// let config = Config::load(&path)?;
    /// let mut scheduler = config.clone().into_builder().kill_on_drop().build()?;
    /// while scheduler.programs()[0].pid().is_none() {
    ///     scheduler.step(None)?;
    /// }
    /// let text = r#"{"err_dir": "log",
    ///     "programs": {"web": {"command": ["sleep", "60"], "oneshot": true}}}"#;
    /// std::fs::write(&path, text)?;
    /// let later = ApplyOptions::new().restart(false);
    /// let new = config.reload()?;
    /// std::fs::write(&path, "edited meanwhile")?;
    /// let error = scheduler.apply_with(new.programs.clone(), &later).unwrap_err();
    /// let errors = new.locate(&error).unwrap();
    /// let error = errors.iter().next().unwrap();
    /// assert_eq!((error.line(), error.path()), (2, "programs.web.oneshot"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn locate(&self, error: &Error) -> Option<ConfigErrors> {
        let (program, key, message) = error.key()?;
        let path = self.path.as_ref()?;
        let bytes = match &self.text.0 {
            Some(bytes) => bytes.clone(),
            None => read_again(path).ok()?.into(),
        };
        let text = syntax::without_comments(syntax::text(&bytes).ok()?).ok()?;
        let tree = syntax::tree(&text).ok()?;
        let root = Item::root(&tree);
        let programs = root.named("programs").into_iter().next()?;
        let named = |name: &str| programs.named(name).into_iter().next();
        let instance_of = || named(instances::program_of(program)?);
        let program = named(program).or_else(instance_of)?;
        // What stands nowhere, as it has its default, is missing from the program.
        let own = program.named(key).into_iter().next();
        let defaults = || {
            root.named("defaults")
                .first()?
                .named(key)
                .into_iter()
                .next()
        };
        let (place, of_program) = program.position();
        let place = own
            .or_else(defaults)
            .map_or(place, |item| item.position().0);
        let mut problems = Problems::default();
        problems.add(place, &format!("{of_program}.{key}"), message.to_owned());
        problems.or(&path.to_string_lossy(), ()).err()
    }
}
