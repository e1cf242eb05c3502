//! Lists of what a simulation has seen.

/// How often each thing was seen.
pub trait Seen: Default + Send {
    fn add(&mut self, other: &Self);
    /// Each thing, with its number.
    fn list(&self) -> impl Iterator<Item = (&'static str, u64)>;
}

macro_rules! tally {
    ($($name:ident: $what:literal,)*) => {
        /// How often each thing happened.
        #[derive(Debug, Clone, Copy, Default)]
        pub struct Tally {
            $(pub $name: u64,)*
        }

        impl $crate::model::tallying::Seen for Tally {
            fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            fn list(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($what, self.$name),)*].into_iter()
            }
        }
    };
}
