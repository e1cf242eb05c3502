//! Lists of what a simulation has seen.

macro_rules! tally {
    ($($name:ident: $what:literal,)*) => {
        const KINDS: usize = [$($what),*].len();

        /// How often each thing happened.
        #[derive(Debug, Clone, Copy, Default)]
        pub struct Tally {
            $(pub $name: u64,)*
        }

        impl Tally {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Each thing, with its number.
            pub fn list(&self) -> [(&'static str, u64); KINDS] {
                [$(($what, self.$name),)*]
            }
        }
    };
}
